"""An opened snapshot: indexes that are searched, records that are read as they are asked for."""

import contextlib
import sqlite3
import threading
from collections.abc import Iterator
from pathlib import Path

from indexer.index.lexical import LexicalIndex
from indexer.index.vectors import VectorIndex
from indexer.records import Document
from indexer.settings import store_errors
from indexer.store.draft import DEMONSTRATIONS, LEXICAL, PASSAGES, RECORDS
from indexer.store.leases import Lease
from indexer.store.manifest import SnapshotManifest, check_files
from indexer.store.tables import DOCUMENT, Row, read_document

_MAPPED = 1 << 31  # bytes of records.db; a part of a long text is found without reading the rest


class Snapshot:
    """An opened snapshot: its indexes in memory, its records read as they are asked for.

    Safe to use from several threads; `close` when the last reader has ended.
    """

    def __init__(self, path: Path, snapshot_id: str, manifest: SnapshotManifest) -> None:
        self._lease = Lease(path)
        self.id = snapshot_id
        self.path = path
        self.manifest = manifest
        self.passages = VectorIndex.load(path / PASSAGES, manifest.passages_index)
        self.demonstrations = VectorIndex.load(path / DEMONSTRATIONS, manifest.demonstrations_index)
        self.lexical = LexicalIndex.load(path / LEXICAL)
        self._lock = threading.Lock()
        address = (path / RECORDS).resolve().as_uri() + "?mode=ro&immutable=1"
        with store_errors(path / RECORDS):
            self._db = sqlite3.connect(address, uri=True, check_same_thread=False)
            self._db.execute(f"PRAGMA mmap_size={_MAPPED}")

    def read(self, query: str, *values: str | float) -> list[Row]:
        """Rows of records.db."""
        with store_errors(self.path / RECORDS), self._lock:
            return self._db.execute(query, values).fetchall()

    @contextlib.contextmanager
    def open_text(self, document: int) -> Iterator[sqlite3.Blob]:
        """The text of the document with this rowid, as UTF-8, to read parts of; others wait."""
        with (
            store_errors(self.path / RECORDS),
            self._lock,
            self._db.blobopen("documents", "text", document, readonly=True) as blob,
        ):
            yield blob

    def document(self, path: str) -> Document | None:
        rows = self.read(f"SELECT {DOCUMENT} FROM documents WHERE path = ?", path)
        return read_document(rows[0]) if rows else None

    def document_paths(self) -> list[str]:
        return [path for (path,) in self.read("SELECT path FROM documents ORDER BY path")]

    def close(self) -> None:
        """Idempotent; what is asked afterwards raises StoreError."""
        with self._lock:
            self._db.close()
        self._lease.release()


def open_snapshot(path: Path) -> Snapshot:
    """Open what was verified when it was published: files of the right size, not read again."""
    return Snapshot(path, *check_files(path))
