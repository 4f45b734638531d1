"""The files of a snapshot, from records and vectors to bytes: the same input, the same bytes.

Streams: of all that goes in, only what an index itself needs is ever in memory.
"""

import contextlib
import os
import sqlite3
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from indexer.domain import IndexSettings
from indexer.index.marks import IndexMark
from indexer.records import Demonstration, Place
from indexer.settings import store_errors, sync_folder, write_atomically
from indexer.store.aside import Aside
from indexer.store.manifest import (
    FILE_NAME,
    FORMAT,
    EmbedderMark,
    SnapshotManifest,
    manifest_id,
    mark_file,
)
from indexer.store.tables import (
    CHUNK,
    COPY,
    DEMONSTRATION,
    DOCUMENT,
    FIELD,
    INDEXES,
    SCHEMA,
    Row,
    copy_row,
    count_sentences,
    demonstration_row,
    field_rows,
)

if TYPE_CHECKING:
    from indexer.index.rows import VectorSource

RECORDS = "records.db"
PASSAGES = "passages.faiss"
DEMONSTRATIONS = "demonstrations.faiss"
LEXICAL = "bm25"

_MANY = 5000  # rows for which a process of its own is worth its start

# While the file is made nothing of it counts, so nothing is logged; it is synced as a whole.
_PRAGMAS = """
PRAGMA page_size=4096; PRAGMA journal_mode=OFF; PRAGMA synchronous=OFF;
PRAGMA locking_mode=EXCLUSIVE; PRAGMA cache_size=-16384;
"""
Step = Callable[[str, int, int], None]


@dataclass(frozen=True, slots=True)
class SnapshotContent:
    """All that goes in, each read once and in this order; documents by path, chunks by row.

    Both are rows as `indexer.store.tables` packs them, so that a job need not unpack them. Row i
    of a vector source belongs to chunk or demonstration i; both are asked for nothing before the
    chunks have been read. `copies` are read after the chunks too. `embed` is called before the
    vectors are asked for: what of them is not there yet has to be there then.
    """

    domain: str
    documents: Iterable[Row]
    chunks: Iterable[Row]
    demonstrations: Iterable[Demonstration]
    passage_vectors: "VectorSource"
    demonstration_vectors: "VectorSource"
    embedder: EmbedderMark
    demonstration_embedder: EmbedderMark | None = None
    copies: Iterable[tuple[int, Place]] = ()
    index: IndexSettings = field(default_factory=IndexSettings)
    embed: Callable[[], None] = lambda: None


@dataclass(slots=True)
class Counts:
    """Rows put into records.db."""

    documents: int = 0
    chunks: int = 0
    copies: int = 0
    sentences: int = 0
    demonstrations: int = 0


def silent(_phase: str, _done: int, _total: int) -> None:
    """A report to nobody."""


def write_files(folder: Path, content: SnapshotContent, step: Step = silent) -> str:
    """Every file, each durable; returns the snapshot's id. `step` hears how many rows are done."""
    counts = _write_records(folder / RECORDS, content, step)
    marks = _write_indexes(folder, content, step)
    files = sorted(f for f in folder.rglob("*") if f.is_file())
    manifest = SnapshotManifest(
        format=FORMAT,
        domain=content.domain,
        documents=counts.documents,
        chunks=counts.chunks,
        copies=counts.copies,
        sentences=counts.sentences,
        demonstrations=counts.demonstrations,
        embedder=content.embedder,
        demonstration_embedder=content.demonstration_embedder,
        passages_index=marks[0],
        demonstrations_index=marks[1],
        files={file.relative_to(folder).as_posix(): mark_file(file) for file in files},
    ).to_json()
    write_atomically(folder / FILE_NAME, manifest)
    return manifest_id(manifest)


def _write_indexes(
    folder: Path, content: SnapshotContent, step: Step
) -> tuple[IndexMark, IndexMark]:
    """Words need no vectors: where there are many, another process sees to them meanwhile."""
    # Imported here: they take long, and who only looks at a snapshot needs none of them.
    from indexer.index.vectors import build_index
    from indexer.store.words import build_words

    count = content.passage_vectors.count
    with contextlib.ExitStack() as stack:
        records, words = folder / RECORDS, folder / LEXICAL
        aside = None
        if count >= _MANY:
            aside = stack.enter_context(Aside("indexer.store.words", records, words))
        content.embed()
        step("vectors", 0, count)
        passages = build_index(content.passage_vectors, content.index, folder / PASSAGES)
        step("vectors", count, count)
        examples = build_index(
            content.demonstration_vectors, content.index, folder / DEMONSTRATIONS
        )
        step("words", 0, count)
        if aside:
            aside.join(lambda: step("words", 0, count))
        else:
            build_words(records, words)
        step("words", count, count)
    return passages, examples


def _write_records(path: Path, content: SnapshotContent, step: Step) -> Counts:
    """One transaction, one order of rows: no page is ever freed or moved, so the bytes are set."""
    counts = Counts()
    with store_errors(path), contextlib.closing(sqlite3.connect(path, isolation_level=None)) as db:
        db.executescript(f"{_PRAGMAS}BEGIN;{SCHEMA}")
        _insert(db, "documents", DOCUMENT, _document_rows(db, content, counts, step))
        _insert(db, "chunks", f"row, {CHUNK}", _chunk_rows(content, counts, step))
        copies = (copy_row(row, place) for row, place in content.copies)
        counts.copies = _insert(db, "copies", COPY, copies)
        examples = ((n, *demonstration_row(d)) for n, d in enumerate(content.demonstrations))
        counts.demonstrations = _insert(db, "demonstrations", f"row, {DEMONSTRATION}", examples)
        for statement in INDEXES:
            db.execute(statement)
        db.execute("COMMIT")
    _sync(path)
    return counts


def _document_rows(
    db: sqlite3.Connection, content: SnapshotContent, counts: Counts, step: Step
) -> Iterator[Row]:
    for document in content.documents:
        counts.documents += 1
        _insert(db, "fields", FIELD, field_rows(document))
        step("documents", counts.documents, 0)
        yield document


def _chunk_rows(content: SnapshotContent, counts: Counts, step: Step) -> Iterator[Row]:
    for row, chunk in enumerate(content.chunks):
        counts.chunks = row + 1
        counts.sentences += count_sentences(chunk)
        step("chunks", counts.chunks, 0)
        yield row, *chunk


def _insert(db: sqlite3.Connection, table: str, columns: str, rows: Iterable[Row]) -> int:
    """How many."""
    marks = ",".join("?" * len(columns.split(", ")))
    query = f"INSERT INTO {table}({columns}) VALUES ({marks})"
    before = db.total_changes
    db.executemany(query, rows)
    return db.total_changes - before


def _sync(path: Path) -> None:
    with store_errors(path):
        path.chmod(0o644)
        with path.open("rb") as file:
            os.fsync(file.fileno())
        sync_folder(path.parent)
