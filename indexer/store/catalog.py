"""The truth about a domain, in SQLite: what was read, how it was split, what was embedded.

Written by the index job only, one transaction per document or batch: whatever a killed job has
done stays done. Snapshots are derived from it.
"""

import contextlib
import sqlite3
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Self

import numpy as np

from indexer.errors import StoreError
from indexer.records import Chunk, Demonstration, Document, Vectors
from indexer.settings import store_errors
from indexer.store.tables import (
    CHUNK,
    DEMONSTRATION,
    DOCUMENT,
    SCHEMA,
    Row,
    chunk_row,
    demonstration_row,
    document_row,
    read_chunk,
    read_document,
)

_VERSION = 2
_OWN_SCHEMA = """
ALTER TABLE documents ADD COLUMN recipe TEXT NOT NULL DEFAULT '';
CREATE INDEX chunks_by_document ON chunks(document, start);
CREATE TABLE vectors(
    text TEXT NOT NULL, fingerprint TEXT NOT NULL, vector BLOB NOT NULL,
    PRIMARY KEY(text, fingerprint)) WITHOUT ROWID;
CREATE TABLE meta(key TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
"""
_BATCH = 500


class Catalog:
    """One open database; every method raises StoreError when it cannot be read or written."""

    def __init__(self, path: Path) -> None:
        self.path = path
        with store_errors(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            self._db = sqlite3.connect(path, isolation_level=None, timeout=10)
            try:
                self._prepare()
            except BaseException:
                self._db.close()
                raise

    def _prepare(self) -> None:
        self._db.execute("PRAGMA journal_mode=WAL")
        self._db.execute("PRAGMA synchronous=FULL")
        (version,) = self._db.execute("PRAGMA user_version").fetchone()
        if version == 0:
            script = f"BEGIN;{SCHEMA}{_OWN_SCHEMA}PRAGMA user_version={_VERSION};COMMIT;"
            self._db.executescript(script)
        elif version != _VERSION:
            raise StoreError(
                f"The catalog {self.path} has format {version}, this program writes {_VERSION}",
                "Move the file away and index the domain again",
            )

    def close(self) -> None:
        self._db.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @contextlib.contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        with store_errors(self.path):
            self._db.execute("BEGIN IMMEDIATE")
            try:
                yield self._db
            except BaseException:
                # SQLite has already rolled back by itself when the disk is full.
                if self._db.in_transaction:
                    self._db.rollback()
                raise
            self._db.execute("COMMIT")

    def _read(self, query: str, *values: str) -> list[Row]:
        with store_errors(self.path):
            return self._db.execute(query, values).fetchall()

    def known(self) -> dict[str, tuple[str, str]]:
        """Path to (document id, recipe by which it was split)."""
        return {path: (name, recipe) for path, name, recipe in self._read(_KNOWN)}

    def put(self, document: Document, chunks: Iterable[Chunk], recipe: str = "") -> None:
        """Add or replace a document and its chunks."""
        with self._transaction() as db:
            db.execute("DELETE FROM chunks WHERE document = ?", (document.path,))
            db.execute(_PUT_DOCUMENT, (*document_row(document), recipe))
            db.executemany(_PUT_CHUNK, [chunk_row(chunk) for chunk in chunks])

    def delete(self, path: str) -> None:
        """Forget a document and its chunks; a path that is not known is no error."""
        with self._transaction() as db:
            db.execute("DELETE FROM chunks WHERE document = ?", (path,))
            db.execute("DELETE FROM documents WHERE path = ?", (path,))

    def documents(self) -> list[Document]:
        """By path."""
        query = f"SELECT {DOCUMENT} FROM documents ORDER BY path"
        return [read_document(row) for row in self._read(query)]

    def chunks(self) -> list[Chunk]:
        """By document and place."""
        query = f"SELECT {CHUNK} FROM chunks ORDER BY document, start, id"
        return [read_chunk(row) for row in self._read(query)]

    def put_demonstrations(self, demonstrations: Iterable[Demonstration]) -> None:
        """Replace all of them."""
        with self._transaction() as db:
            db.execute("DELETE FROM demonstrations")
            db.executemany(_PUT_DEMONSTRATION, [demonstration_row(d) for d in demonstrations])

    def demonstrations(self) -> list[Demonstration]:
        """By id."""
        query = f"SELECT {DEMONSTRATION} FROM demonstrations ORDER BY id"
        return [Demonstration(*row) for row in self._read(query)]

    def put_vectors(self, fingerprint: str, vectors: Mapping[str, Vectors]) -> None:
        """Keep what the embedder with this fingerprint made of texts, by the texts' digests."""
        rows = [(text, fingerprint, v.astype("<f4").tobytes()) for text, v in vectors.items()]
        with self._transaction() as db:
            db.executemany("INSERT OR REPLACE INTO vectors VALUES (?, ?, ?)", rows)

    def vectors(self, fingerprint: str, texts: Sequence[str]) -> dict[str, Vectors]:
        """Those of the texts (by digest) that have been embedded."""
        found: dict[str, Vectors] = {}
        for start in range(0, len(texts), _BATCH):
            some = texts[start : start + _BATCH]
            marks = ",".join("?" * len(some))
            query = f"SELECT text, vector FROM vectors WHERE fingerprint = ? AND text IN ({marks})"
            for text, blob in self._read(query, fingerprint, *some):
                found[text] = np.frombuffer(blob, dtype="<f4").astype(np.float32)
        return found

    def prune_vectors(self, fingerprint: str, keep: Iterable[str]) -> None:
        """Forget this fingerprint's vectors of texts that are no longer there."""
        with self._transaction() as db:
            db.execute("CREATE TEMP TABLE kept(text TEXT PRIMARY KEY)")
            db.executemany("INSERT OR IGNORE INTO kept VALUES (?)", [(text,) for text in keep])
            db.execute(_PRUNE, (fingerprint,))
            db.execute("DROP TABLE kept")

    def meta(self, key: str) -> str | None:
        rows = self._read("SELECT value FROM meta WHERE key = ?", key)
        return str(rows[0][0]) if rows else None

    def put_meta(self, key: str, value: str) -> None:
        with self._transaction() as db:
            db.execute("INSERT OR REPLACE INTO meta VALUES (?, ?)", (key, value))


_KNOWN = "SELECT path, id, recipe FROM documents"
_PUT_DOCUMENT = f"INSERT OR REPLACE INTO documents({DOCUMENT}, recipe)" \
    " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)"
_PUT_CHUNK = f"INSERT INTO chunks({CHUNK}) VALUES (?, ?, ?, ?, ?, ?)"
_PUT_DEMONSTRATION = f"INSERT INTO demonstrations({DEMONSTRATION}) VALUES (?, ?, ?, ?)"
_PRUNE = "DELETE FROM vectors WHERE fingerprint = ? AND text NOT IN (SELECT text FROM kept)"
