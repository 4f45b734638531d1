"""The truth about a domain, in SQLite: which files were read, what they gave, what was embedded.

Written by the index job only, unit by unit: a unit (a file with its documents, a document with
its chunks, a batch of vectors) is in it whole or not at all. Units are committed together about
once a second, for each commit waits for the disk. Snapshots are derived from it.
"""

import contextlib
import sqlite3
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Self

from indexer.errors import StoreError
from indexer.settings import store_errors
from indexer.store.tables import Row

VERSION = 3
# Documents and chunks lie in order of path and place, as a snapshot numbers them. `key` names the
# text that is embedded for a chunk, `sketch` is what tells its copies; `recipe` is what a document
# was split by, "" if it was not yet. What is long stands last: the rest is read without it.
_SCHEMA = f"""
BEGIN;
CREATE TABLE files(
    path TEXT PRIMARY KEY, size INTEGER NOT NULL, mtime_ns INTEGER NOT NULL,
    read_ns INTEGER NOT NULL, sha256 TEXT NOT NULL, reader TEXT NOT NULL, state TEXT NOT NULL,
    error TEXT NOT NULL) WITHOUT ROWID;
CREATE INDEX files_by_state ON files(state);
CREATE TABLE documents(
    path TEXT PRIMARY KEY, recipe TEXT NOT NULL, file TEXT NOT NULL, masked TEXT NOT NULL,
    id TEXT NOT NULL, title TEXT NOT NULL, sha256 TEXT NOT NULL, fields TEXT NOT NULL,
    pages TEXT NOT NULL, blocks TEXT NOT NULL, text TEXT NOT NULL);
CREATE INDEX documents_by_file ON documents(file);
CREATE TABLE chunks(
    document TEXT NOT NULL, number INTEGER NOT NULL, id TEXT NOT NULL, start INTEGER NOT NULL,
    end INTEGER NOT NULL, headings TEXT NOT NULL, sentences TEXT NOT NULL, key BLOB NOT NULL,
    sketch BLOB NOT NULL, PRIMARY KEY(document, number)) WITHOUT ROWID;
CREATE TABLE fingerprints(id INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE);
CREATE TABLE vectors(
    fingerprint INTEGER NOT NULL, key BLOB NOT NULL, vector BLOB NOT NULL);
CREATE UNIQUE INDEX vectors_by_key ON vectors(fingerprint, key);
CREATE TABLE meta(key TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
PRAGMA user_version={VERSION};
COMMIT;
"""
_SECONDS_PER_COMMIT = 1.0
_CACHE_KIB = 16_384


class Catalog:
    """One open database; every method raises StoreError when it cannot be read or written."""

    def __init__(self, path: Path) -> None:
        """Opened to be written; made if it is not there, made anew if it is of an older format:
        all that it holds can be had again from the documents."""
        self.path = path
        with store_errors(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            self._db = _open(path)
        self._begun = 0.0

    @classmethod
    def read_only(cls, path: Path) -> Self:
        """Writes nothing to the disk; empty if there is no catalog of this format yet."""
        catalog = cls.__new__(cls)
        catalog.path, catalog._begun = path, 0.0
        with store_errors(path):
            catalog._db = _open_unchanged(path)
        return catalog

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Keeps every whole unit, whatever ended the work."""
        try:
            with contextlib.suppress(StoreError):  # what failed has been said already
                self.commit()
        finally:
            self._db.close()

    @contextlib.contextmanager
    def unit(self) -> Iterator[sqlite3.Connection]:
        """All that the block writes, or none of it; durable with the next commit."""
        with store_errors(self.path):
            self._begin()
            self._db.execute("SAVEPOINT unit")
            try:
                yield self._db
            except BaseException:
                # SQLite has already rolled back by itself when the disk is full.
                if self._db.in_transaction:
                    self._db.execute("ROLLBACK TO unit")
                    self._db.execute("RELEASE unit")
                raise
            self._db.execute("RELEASE unit")
        if time.monotonic() - self._begun > _SECONDS_PER_COMMIT:
            self.commit()

    def commit(self) -> None:
        """Make every unit so far durable."""
        if self._db.in_transaction:
            with store_errors(self.path):
                self._db.execute("COMMIT")

    def _begin(self) -> None:
        if not self._db.in_transaction:
            self._db.execute("BEGIN IMMEDIATE")
            self._begun = time.monotonic()

    def rows(self, query: str, *values: object) -> list[Row]:
        """All rows at once: for what is few."""
        with store_errors(self.path):
            return self._db.execute(query, values).fetchall()

    def stream(self, query: str, *values: object) -> Iterator[Row]:
        """Row by row; the tables that are read must not be written meanwhile."""
        with store_errors(self.path):
            yield from self._db.execute(query, values)

    def count(self, query: str, *values: object) -> int:
        """The number that a query gives; 0 for none."""
        [(found,)] = self.rows(query, *values)
        return int(found or 0)

    def scratch(self, statement: str, *values: object) -> None:
        """Change temporary tables: these need no transaction and are never on the disk for long."""
        with store_errors(self.path):
            if values:
                self._db.execute(statement, values)
            else:
                self._db.executescript(statement)

    def meta(self, key: str) -> str:
        """ "" where nothing is kept under this key."""
        rows = self.rows("SELECT value FROM meta WHERE key = ?", key)
        return str(rows[0][0]) if rows else ""

    def put_meta(self, key: str, value: str) -> None:
        with self.unit() as db:
            db.execute("INSERT OR REPLACE INTO meta VALUES (?, ?)", (key, value))


def _open(path: Path) -> sqlite3.Connection:
    db = _connect(str(path))
    try:
        db.execute("PRAGMA journal_mode=WAL")
        db.execute("PRAGMA synchronous=FULL")
        found = _version(db, path)
        if found and found < VERSION:
            db.close()
            for end in ("", "-wal", "-shm"):
                Path(f"{path}{end}").unlink(missing_ok=True)
            return _open(path)
        if not found:
            db.executescript(_SCHEMA)
    except BaseException:
        db.close()
        raise
    return db


def _open_unchanged(path: Path) -> sqlite3.Connection:
    if path.exists():
        # Without a log nobody writes; then SQLite is kept from making its own files beside it.
        quiet = "" if Path(f"{path}-wal").exists() else "&immutable=1"
        db = _connect(f"{path.resolve().as_uri()}?mode=ro{quiet}", uri=True)
        try:
            if _version(db, path) == VERSION:
                return db
        except BaseException:
            db.close()
            raise
        db.close()
    db = _connect(":memory:")
    db.executescript(_SCHEMA)
    return db


def _connect(address: str, *, uri: bool = False) -> sqlite3.Connection:
    db = sqlite3.connect(address, isolation_level=None, timeout=10, uri=uri)
    db.execute(f"PRAGMA cache_size=-{_CACHE_KIB}")
    return db


def _version(db: sqlite3.Connection, path: Path) -> int:
    [(found,)] = db.execute("PRAGMA user_version")
    if found > VERSION:
        raise StoreError(
            f"The catalog {path} has format {found}, this program writes {VERSION}",
            "Use the newer program, or move the file away and index the domain again",
        )
    return int(found)
