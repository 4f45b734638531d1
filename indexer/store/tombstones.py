"""Documents that were deleted since the snapshots in use were made: hidden at once, gone later.

A snapshot is never changed, so a delete is a note beside it that searches obey. It names the
deleted source file and, document by document, the ids under which snapshots hold its content: the
same path with other content is another document and is not hidden. The index job settles the notes
after it has published: what no snapshot holds any more, and what has come back, is forgotten.
"""

import contextlib
import fcntl
import json
import sqlite3
import time
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from indexer.errors import StoreError
from indexer.settings import store_errors, write_atomically
from indexer.store.tables import Row

Found = tuple[str, str]  # a document's path and id
_RECORDS = "records.db"
_OF_FILE = "SELECT path, id FROM documents WHERE path = ? OR (path > ? AND path < ?)"


@dataclass(frozen=True, slots=True)
class Tombstone:
    """One deleted file: when (ns since the epoch), and its documents' ids by path."""

    at: int
    documents: Mapping[str, frozenset[str]] = field(default_factory=dict)

    def found(self) -> set[Found]:
        return {(path, name) for path, names in self.documents.items() for name in names}


class Records(Protocol):
    """What is asked of an opened snapshot."""

    def read(self, query: str, *values: str | int) -> list[Row]: ...


class Tombstones:
    """The notes of one domain; any number of threads and processes may read and write them."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._read: tuple[object, dict[str, Tombstone]] = (None, {})

    def entries(self) -> Mapping[str, Tombstone]:
        """By the deleted file's path. Costs one `stat` while nothing has changed.

        An index job takes this before it looks at any source, and gives it to `settle`.
        """
        seen, entries = self._read
        mark = _mark(self._path)
        if mark != seen:
            entries = _load(self._path) if mark else {}
            self._read = mark, entries
        return entries

    def read(self) -> dict[str, str]:
        """Path to id of every hidden document (one of the ids where there are several)."""
        return {
            path: max(names)
            for entry in self.entries().values()
            for path, names in entry.documents.items()
        }

    def add(self, path: str, document_id: str) -> None:
        """Hide one document."""
        with self._changing() as entries:
            entries[path] = _with(entries.get(path), {(path, document_id)})

    def bury(self, path: str, snapshots: Path) -> None:
        """Hide every document that any snapshot below `snapshots` holds of the file at `path`."""
        with self._changing() as entries:
            found = {one for folder in _whole(snapshots) for one in _documents(folder, path)}
            entries[path] = _with(entries.get(path), found)

    def lift(self, path: str) -> None:
        """Show again what was hidden for `path`; no error if nothing was."""
        self.drop([path])

    def drop(self, paths: Collection[str]) -> None:
        """Forget these."""
        with self._changing() as entries:
            for path in paths:
                entries.pop(path, None)

    def settle(self, before: Mapping[str, Tombstone], published: Path) -> None:
        """After a job: `before` are the entries at its start, `published` its snapshot's folder.

        An entry of `before` keeps only what some snapshot holds and the published one does not: a
        rollback brings no deleted document back. What was deleted during the job may be in the
        snapshot all the same, and is hidden there.
        """
        if not before and _mark(self._path) is None:
            return
        with self._changing() as entries:
            others = [folder for folder in _whole(published.parent) if folder != published]
            for path, entry in list(entries.items()):
                new = set(_documents(published, path))
                if before.get(path) != entry:
                    entries[path] = _with(entry, new, entry.at)
                    continue
                held = {one for folder in others for one in _documents(folder, path)}
                entries[path] = _with(None, (entry.found() & held) - new, entry.at)
                if not entries[path].documents:
                    del entries[path]

    @contextlib.contextmanager
    def _changing(self) -> Iterator[dict[str, Tombstone]]:
        """The entries, written back if the block changes them; one writer at a time."""
        with _exclusive(self._path.with_suffix(".lock")):
            entries = _load(self._path) if _mark(self._path) else {}
            before = dict(entries)
            yield entries
            if entries != before:
                write_atomically(self._path, _dump(entries))


def hidden_in(tombstones: Tombstones, snapshot: Records) -> Callable[[], Mapping[str, str]]:
    """Asks for the documents of this snapshot that are deleted: path to id, the same object while
    nothing has changed."""
    known: tuple[Mapping[str, Tombstone], dict[str, str]] = ({}, {})

    def hidden() -> Mapping[str, str]:
        nonlocal known
        entries = tombstones.entries()
        if entries is not known[0]:
            known = entries, dict(_held(snapshot, entries))
        return known[1]

    return hidden


def _held(snapshot: Records, entries: Mapping[str, Tombstone]) -> Iterator[Found]:
    for entry in entries.values():
        for path, names in entry.documents.items():
            rows = snapshot.read("SELECT id FROM documents WHERE path = ?", path)
            if rows and rows[0][0] in names:
                yield path, str(rows[0][0])


def _with(entry: Tombstone | None, found: Collection[Found], at: int = 0) -> Tombstone:
    documents: dict[str, set[str]] = {}
    for path, name in (entry.found() if entry else set()) | set(found):
        documents.setdefault(path, set()).add(name)
    frozen = {path: frozenset(documents[path]) for path in sorted(documents)}
    return Tombstone(at or time.time_ns(), frozen)


def _whole(snapshots: Path) -> list[Path]:
    """Published snapshots: drafts have a name that begins with a dot."""
    return sorted(file.parent for file in snapshots.glob(f"[!.]*/{_RECORDS}"))


def _documents(folder: Path, path: str) -> list[Found]:
    """What the snapshot holds of the file at `path`: a document, or one for each of its rows."""
    records = folder / _RECORDS
    address = f"{records.resolve().as_uri()}?mode=ro&immutable=1"
    within = (f"{path}/", f"{path}0")  # "0" follows "/"
    with store_errors(records):
        try:
            with contextlib.closing(sqlite3.connect(address, uri=True)) as database:
                return database.execute(_OF_FILE, (path, *within)).fetchall()
        except sqlite3.DatabaseError as error:
            if records.exists() and not _is_damage(error):
                raise
            return []  # pruned meanwhile, or nothing can be answered from it


def _is_damage(error: sqlite3.DatabaseError) -> bool:
    """Not a lock or a disk: a file that is no database, or not whole. An old snapshot that is
    damaged must not keep others from being deleted from or published."""
    codes = (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB)
    return error.sqlite_errorcode & 0xFF in codes or "no such table" in str(error)


def _mark(path: Path) -> object:
    """Changes whenever the file is replaced; None while there is none."""
    with store_errors(path):
        try:
            seen = path.stat()
        except FileNotFoundError:
            return None
        return seen.st_ino, seen.st_mtime_ns, seen.st_size


def _load(path: Path) -> dict[str, Tombstone]:
    try:
        with store_errors(path):
            content = json.loads(path.read_bytes())
        return {
            file: Tombstone(
                int(entry["at"]),
                {name: frozenset(ids) for name, ids in entry["documents"].items()},
            )
            for file, entry in content.items()
        }
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise StoreError(
            f"{path} is damaged: {error}",
            "Move it away, delete again what was deleted lately, and index the domain",
        ) from error


def _dump(entries: Mapping[str, Tombstone]) -> bytes:
    content = {
        file: {"at": entry.at, "documents": {p: sorted(ids) for p, ids in entry.documents.items()}}
        for file, entry in sorted(entries.items())
    }
    return json.dumps(content, ensure_ascii=False).encode()


@contextlib.contextmanager
def _exclusive(path: Path) -> Iterator[None]:
    """An advisory lock, waited for; the system frees it if its holder dies."""
    with store_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        file = path.open("ab")
    with file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
