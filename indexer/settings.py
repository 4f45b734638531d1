"""The layout of the store, and the only way in which files are put into it.

Knows where things lie and how to write them durably; knows nothing about what they hold.
"""

import contextlib
import errno
import os
import sqlite3
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from indexer.errors import StoreError

_REMEDIES = {
    errno.ENOSPC: "Free some disk space and try again; nothing that was published has changed",
    errno.EDQUOT: "Raise the disk quota and try again; nothing that was published has changed",
    errno.EACCES: "Give this user write access to the store",
    errno.EPERM: "Give this user write access to the store",
    errno.EROFS: "Put the store on a file system that can be written",
}
_LEAST_BYTES = 64 * 1024


@dataclass(frozen=True, slots=True)
class Paths:
    """Where everything lies below the store's root."""

    root: Path

    def domain(self, name: str) -> Path:
        return self.root / "domains" / name

    def catalog(self, name: str) -> Path:
        return self.domain(name) / "catalog.db"

    def snapshots(self, name: str) -> Path:
        return self.domain(name) / "snapshots"

    def snapshot(self, name: str, snapshot_id: str) -> Path:
        return self.snapshots(name) / snapshot_id

    def releases(self, name: str) -> Path:
        return self.domain(name) / "releases"

    def live(self, name: str) -> Path:
        return self.domain(name) / "LIVE"

    def uploads(self, name: str) -> Path:
        """Documents that came through the API; they belong to the domain like its folders."""
        return self.domain(name) / "uploads"

    def tombstones(self, name: str) -> Path:
        """Documents deleted since the live snapshot was made: path to document id, as JSON."""
        return self.domain(name) / "tombstones.json"

    @property
    def jobs(self) -> Path:
        return self.root / "jobs"

    @property
    def adapters(self) -> Path:
        return self.root / "adapters"

    def adapter(self, digest: str) -> Path:
        return self.adapters / digest

    @property
    def names(self) -> Path:
        return self.adapters / "names.json"


@contextlib.contextmanager
def store_errors(path: Path) -> Iterator[None]:
    """Turn what the disk or SQLite says about `path` into a StoreError with a remedy."""
    try:
        yield
    except OSError as error:
        raise _from_os(path, error) from error
    except sqlite3.Error as error:
        raise _from_sqlite(path, error) from error


def _from_os(path: Path, error: OSError) -> StoreError:
    reason = error.strerror or str(error)
    remedy = _REMEDIES.get(error.errno or 0, "Check the path and the disk")
    return StoreError(f"Cannot use {error.filename or path}: {reason}", remedy)


def _from_sqlite(path: Path, error: sqlite3.Error) -> StoreError:
    reason = str(error)
    if "full" in reason or ("disk I/O" in reason and _is_full(path)):
        remedy = _REMEDIES[errno.ENOSPC]
    elif "locked" in reason or "busy" in reason:
        remedy = "Another process is writing it; wait until that has ended"
    elif "readonly" in reason or "unable to open" in reason:
        remedy = _REMEDIES[errno.EACCES]
    else:
        remedy = "Move the file away and index the domain again: it is rebuilt from the documents"
    return StoreError(f"Cannot use {path}: {reason}", remedy)


def _is_full(path: Path) -> bool:
    """SQLite cannot always tell: the memory it maps beside its log fails to grow without a word."""
    try:
        state = os.statvfs(path.parent)
    except OSError:
        return False
    return state.f_bavail * state.f_frsize < _LEAST_BYTES


def write_atomically(path: Path, content: bytes) -> None:
    """Put `content` at `path` so that a reader sees all of it or what was there before."""
    with store_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
        try:
            with open(handle, "wb") as file:
                os.fchmod(file.fileno(), 0o644)
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            os.replace(name, path)
        except BaseException:
            with contextlib.suppress(OSError):
                os.unlink(name)
            raise
        sync_folder(path.parent)


def sync_folder(folder: Path) -> None:
    """Make the names in `folder` durable: a rename counts only once its folder is on disk."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
