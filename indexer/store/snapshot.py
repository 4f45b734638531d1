"""Immutable snapshots: written beside, verified in another process, then renamed into place.

A folder under `snapshots/` whose name does not begin with a dot is whole and was verified. The
same content gives the same bytes and the same id.
"""

import contextlib
import os
import shutil
import sqlite3
import subprocess
import sys
import tempfile
import threading
from pathlib import Path

from indexer.store.draft import DEMONSTRATIONS, PASSAGES, RECORDS, SnapshotContent, write_files
from indexer.errors import DslmError, StoreError
from indexer.store.manifest import SnapshotManifest, mark_file, read_manifest
from indexer.records import Document
from indexer.settings import Paths, store_errors, sync_folder
from indexer.store.tables import DOCUMENT, Row, read_document, read_sentences
from indexer.index.vectors import VectorIndex

_DRAFT = ".draft-"
_SAMPLE = 64
_REMEDY = "Index the domain again; until then activate a release with another snapshot"


def write_snapshot(paths: Paths, content: SnapshotContent) -> str:
    """Write, verify and publish; returns the id. A failure at any point publishes nothing."""
    home = paths.snapshots(content.domain)
    with store_errors(home):
        home.mkdir(parents=True, exist_ok=True)
        draft = Path(tempfile.mkdtemp(prefix=_DRAFT, dir=home))
    try:
        snapshot_id = write_files(draft, content)
        target = paths.snapshot(content.domain, snapshot_id)
        if not _is_whole(target):
            verify_snapshot(draft)
            _publish(draft, target)
        return snapshot_id
    finally:
        shutil.rmtree(draft, ignore_errors=True)


def _is_whole(target: Path) -> bool:
    if not target.exists():
        return False
    try:
        verify_snapshot(target)
    except StoreError:
        return False
    return True


def _publish(draft: Path, target: Path) -> None:
    with store_errors(target):
        draft.chmod(0o755)
        if target.exists():  # damaged: out of the way, for the next job to remove
            os.rename(target, tempfile.mkdtemp(prefix=_DRAFT, dir=target.parent))
        os.rename(draft, target)
        sync_folder(target.parent)


def remove_drafts(paths: Paths, domain: str) -> None:
    """Clear away what killed jobs left behind; only for whoever holds the domain's lock."""
    for draft in paths.snapshots(domain).glob(f"{_DRAFT}*"):
        shutil.rmtree(draft, ignore_errors=True)


class Snapshot:
    """An opened snapshot: its indexes in memory, its records read as they are asked for.

    Safe to use from several threads; `close` when the last reader has ended.
    """

    def __init__(self, path: Path, snapshot_id: str, manifest: SnapshotManifest) -> None:
        self.id = snapshot_id
        self.path = path
        self.manifest = manifest
        self.passages = VectorIndex.load(path / PASSAGES)
        self.demonstrations = VectorIndex.load(path / DEMONSTRATIONS)
        self._lock = threading.Lock()
        address = (path / RECORDS).resolve().as_uri() + "?mode=ro&immutable=1"
        with store_errors(path / RECORDS):
            self._db = sqlite3.connect(address, uri=True, check_same_thread=False)

    def read(self, query: str, *values: str | int) -> list[Row]:
        """Rows of records.db."""
        with store_errors(self.path / RECORDS), self._lock:
            return self._db.execute(query, values).fetchall()

    def document(self, path: str) -> Document | None:
        rows = self.read(f"SELECT {DOCUMENT} FROM documents WHERE path = ?", path)
        return read_document(rows[0]) if rows else None

    def document_paths(self) -> list[str]:
        return [path for (path,) in self.read("SELECT path FROM documents ORDER BY path")]

    def close(self) -> None:
        """Idempotent; what is asked afterwards raises StoreError."""
        with self._lock:
            self._db.close()


def open_snapshot(path: Path) -> Snapshot:
    """Open what was verified when it was published: files of the right size, not read again."""
    snapshot_id, manifest = read_manifest(path)
    for name, mark in manifest.files.items():
        with store_errors(path / name):
            size = (path / name).stat().st_size
        if size != mark.bytes:
            raise StoreError(f"{path / name} has {size} bytes instead of {mark.bytes}", _REMEDY)
    return Snapshot(path, snapshot_id, manifest)


def verify_snapshot(path: Path) -> None:
    """StoreError unless a process of its own can read all of it: a bad index may kill that one."""
    command = [sys.executable, "-m", "indexer.store.snapshot", str(path.resolve())]
    root = Path(__file__).resolve().parents[2]
    child = subprocess.run(command, cwd=root, capture_output=True, text=True, check=False)
    if child.returncode < 0:
        raise StoreError(f"Reading the snapshot {path} ends by signal {-child.returncode}", _REMEDY)
    if child.returncode:
        lines = child.stderr.strip().splitlines()
        raise StoreError(lines[-1] if lines else f"The snapshot {path} cannot be read", _REMEDY)


def check_snapshot(path: Path) -> None:
    """What `verify_snapshot` does in its process: digests, counts, spans, and a search."""
    _, manifest = read_manifest(path)
    for name, mark in manifest.files.items():
        if mark_file(path / name) != mark:
            raise StoreError(f"{path / name} is not what was written")
    with contextlib.closing(open_snapshot(path)) as snapshot:
        _check_records(snapshot)
        for index, count in (
            (snapshot.passages, manifest.chunks),
            (snapshot.demonstrations, manifest.demonstrations),
        ):
            _check_index(path, index, count, manifest.embedder.dimension)


def _check_records(snapshot: Snapshot) -> None:
    manifest = snapshot.manifest
    if snapshot.read("PRAGMA quick_check") != [("ok",)]:
        raise StoreError(f"{snapshot.path / RECORDS} is corrupt")
    for table in ("documents", "chunks", "demonstrations"):
        [(count,)] = snapshot.read(f"SELECT count(*) FROM {table}")
        if count != getattr(manifest, table):
            raise StoreError(f"{snapshot.path / RECORDS} holds {count} {table}")
    query = "SELECT d.text, c.sentences FROM chunks c JOIN documents d ON d.path = c.document"
    quotes = [
        text[sentence.start : sentence.end]
        for text, sentences in snapshot.read(query)
        for sentence in read_sentences(sentences)
    ]
    if len(quotes) != manifest.sentences or not all(q.strip() == q != "" for q in quotes):
        raise StoreError(f"{snapshot.path / RECORDS} holds sentences that are not in its texts")


def _check_index(path: Path, index: VectorIndex, count: int, dimension: int) -> None:
    if (index.count, index.dimension) != (count, dimension):
        raise StoreError(f"{path} holds {index.count} vectors of {index.dimension} numbers")
    for row in range(0, count, max(1, count // _SAMPLE)):
        vector = index.vector(row)
        scores, rows = index.search(vector, 1)
        if abs(float(scores[0, 0]) - 1.0) > 1e-3 or int(rows[0, 0]) < 0:
            raise StoreError(f"{path} does not find its own vector {row}")


def _main() -> int:
    try:
        check_snapshot(Path(sys.argv[1]))
    except DslmError as error:
        sys.stderr.write(f"{error.message}\n")
        return error.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(_main())
