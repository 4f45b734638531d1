"""The files of a snapshot, from records and vectors to bytes: the same input, the same bytes."""

import contextlib
import sqlite3
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from indexer.store.manifest import (
    FILE_NAME,
    FORMAT,
    EmbedderMark,
    FileMark,
    SnapshotManifest,
    manifest_id,
    mark_file,
)
from indexer.records import Chunk, Demonstration, Document, Vectors
from indexer.settings import write_atomically
from indexer.store.tables import (
    CHUNK,
    DEMONSTRATION,
    DOCUMENT,
    SCHEMA,
    Row,
    chunk_row,
    demonstration_row,
    document_row,
)
from indexer.index.vectors import VectorIndex

RECORDS = "records.db"
PASSAGES = "passages.faiss"
DEMONSTRATIONS = "demonstrations.faiss"


@dataclass(frozen=True, slots=True)
class SnapshotContent:
    """All that goes in; row i of a matrix belongs to chunk or demonstration i."""

    domain: str
    documents: Sequence[Document]
    chunks: Sequence[Chunk]
    demonstrations: Sequence[Demonstration]
    passage_vectors: Vectors
    demonstration_vectors: Vectors
    embedder: EmbedderMark

    def manifest(self, files: dict[str, FileMark]) -> SnapshotManifest:
        return SnapshotManifest(
            format=FORMAT,
            domain=self.domain,
            documents=len(self.documents),
            chunks=len(self.chunks),
            sentences=sum(len(chunk.sentences) for chunk in self.chunks),
            demonstrations=len(self.demonstrations),
            embedder=self.embedder,
            files=files,
        )


def write_files(folder: Path, content: SnapshotContent) -> str:
    write_atomically(folder / RECORDS, _records(content))
    VectorIndex.build(content.passage_vectors).save(folder / PASSAGES)
    VectorIndex.build(content.demonstration_vectors).save(folder / DEMONSTRATIONS)
    marks = {name: mark_file(folder / name) for name in (DEMONSTRATIONS, PASSAGES, RECORDS)}
    manifest = content.manifest(marks).to_json()
    write_atomically(folder / FILE_NAME, manifest)
    return manifest_id(manifest)


def _records(content: SnapshotContent) -> bytes:
    """The database as bytes. Built in memory in one order, so that the same input gives the same
    file, and written like any other: SQLite's own files would need their journal synced too.
    """
    with contextlib.closing(sqlite3.connect(":memory:", isolation_level=None)) as db:
        db.executescript(f"PRAGMA page_size=4096;BEGIN;{SCHEMA}")
        _insert(db, "documents", DOCUMENT, [document_row(d) for d in content.documents])
        chunks = [(row, *chunk_row(c)) for row, c in enumerate(content.chunks)]
        _insert(db, "chunks", f"row, {CHUNK}", chunks)
        examples = [(row, *demonstration_row(d)) for row, d in enumerate(content.demonstrations)]
        _insert(db, "demonstrations", f"row, {DEMONSTRATION}", examples)
        db.execute("COMMIT")
        db.execute("VACUUM")
        return db.serialize()


def _insert(db: sqlite3.Connection, table: str, columns: str, rows: list[Row]) -> None:
    marks = ",".join("?" * len(columns.split(", ")))
    db.executemany(f"INSERT INTO {table}({columns}) VALUES ({marks})", rows)
