"""The journal of a domain's files: how each was found, what came of it, and its documents."""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from sqlite3 import Connection

from indexer.records import Document, Rejected
from indexer.store.catalog import Catalog
from indexer.store.tables import DOCUMENT, Row, document_row, read_document

# The published snapshot's mark in the catalog's meta: taken away by the first change to documents.
PUBLISHED = "published"

READ, QUARANTINED, REFUSED = "read", "quarantined", "refused"
_TAKEN = "another document has this path"


@dataclass(frozen=True, slots=True)
class FileEntry:
    """A file as it was when it was read; `read_ns` (since the epoch) is before it was opened.

    `sha256` is of its bytes ("" where they could not be had), `reader` what read it. `state`:
    read, quarantined (nothing of it could be used) or refused (not even opened).
    """

    path: str
    size: int
    mtime_ns: int
    read_ns: int
    sha256: str
    reader: str
    state: str = READ
    rejected: tuple[Rejected, ...] = ()


@dataclass(frozen=True, slots=True)
class Taken:
    """A document to keep, and how many pieces of personal data were masked in it, by kind."""

    document: Document
    masked: Mapping[str, int]


class Journal:
    """Files and documents of one catalog."""

    def __init__(self, catalog: Catalog) -> None:
        self._catalog = catalog

    def entry(self, path: str) -> FileEntry | None:
        rows = self._catalog.rows(f"SELECT {_FILE} FROM files WHERE path = ?", path)
        return _read_entry(rows[0]) if rows else None

    def entries(self) -> Iterator[FileEntry]:
        """By path."""
        for row in self._catalog.stream(f"SELECT {_FILE} FROM files ORDER BY path"):
            yield _read_entry(row)

    def rejected(self) -> list[Rejected]:
        """What the last run could not use, by path of the file."""
        query = "SELECT error FROM files WHERE error != '' ORDER BY path"
        return [found for (error,) in self._catalog.rows(query) for found in _rejected(error)]

    def masked(self) -> dict[str, int]:
        """By kind, over all documents."""
        total: dict[str, int] = {}
        for (counts,) in self._catalog.stream("SELECT masked FROM documents WHERE masked != '{}'"):
            for kind, count in json.loads(counts).items():
                total[kind] = total.get(kind, 0) + count
        return dict(sorted(total.items()))

    def put(self, entry: FileEntry, taken: Sequence[Taken] = ()) -> bool:
        """Journal a file with all its documents; whether these are others than before.

        A document whose path belongs to another file goes to the file that is first by path.
        """
        with self._catalog.unit() as db:
            kept, doubles = _settle_paths(db, entry.path, taken)
            rows = [(*document_row(t.document), entry.path, _counts(t.masked)) for t in kept]
            columns = f"{DOCUMENT}, file, masked"
            query = f"SELECT {columns} FROM documents WHERE file = ?"
            before = {row[0]: row for row in db.execute(query, (entry.path,))}
            changed = [row for row in rows if before.get(row[0]) != row]
            gone = sorted(before.keys() - {row[0] for row in rows})
            _drop_documents(db, [*gone, *(row[0] for row in changed)])
            marks = ",".join("?" * len(columns.split(", ")))
            insert = f"INSERT INTO documents({columns}, recipe) VALUES ({marks}, '')"
            db.executemany(insert, changed)
            _put_entry(db, entry, doubles)
            if changed or gone:
                _unpublish(db)
        return bool(changed or gone)

    def touch(self, path: str, size: int, mtime_ns: int, read_ns: int) -> None:
        """The file was found with the bytes that are known."""
        with self._catalog.unit() as db:
            query = "UPDATE files SET size = ?, mtime_ns = ?, read_ns = ? WHERE path = ?"
            db.execute(query, (size, mtime_ns, read_ns, path))

    def forget(self, path: str) -> None:
        """A file that is gone, with its documents."""
        with self._catalog.unit() as db:
            names = [n for (n,) in db.execute("SELECT path FROM documents WHERE file = ?", (path,))]
            _drop_documents(db, names)
            db.execute("DELETE FROM files WHERE path = ?", (path,))
            if names:
                _unpublish(db)

    def documents(self, path: str) -> list[Taken]:
        """Those of one file."""
        query = f"SELECT {DOCUMENT}, masked FROM documents WHERE file = ? ORDER BY path"
        rows = self._catalog.rows(query, path)
        return [Taken(read_document(row[:-1]), json.loads(row[-1])) for row in rows]


_FILE = "path, size, mtime_ns, read_ns, sha256, reader, state, error"


def _read_entry(row: Row) -> FileEntry:
    path, size, mtime_ns, read_ns, sha256, reader, state, error = row
    return FileEntry(path, size, mtime_ns, read_ns, sha256, reader, state, _rejected(error))


def _put_entry(db: Connection, entry: FileEntry, doubles: Sequence[Rejected]) -> None:
    found = [[r.path, r.reason] for r in (*entry.rejected, *doubles)]
    error = json.dumps(found, ensure_ascii=False) if found else ""
    e = entry
    values = (e.path, e.size, e.mtime_ns, e.read_ns, e.sha256, e.reader, e.state, error)
    db.execute(f"INSERT OR REPLACE INTO files({_FILE}) VALUES (?, ?, ?, ?, ?, ?, ?, ?)", values)


def _rejected(error: str) -> tuple[Rejected, ...]:
    return tuple(Rejected(*found) for found in json.loads(error)) if error else ()


def _counts(masked: Mapping[str, int]) -> str:
    return json.dumps(dict(sorted(masked.items())))


def _settle_paths(
    db: Connection, file: str, taken: Sequence[Taken]
) -> tuple[list[Taken], list[Rejected]]:
    """The documents that may have their paths, and those whose path is another's."""
    kept: dict[str, Taken] = {}
    doubles: list[Rejected] = []
    for one in taken:
        path = one.document.path
        query = "SELECT file FROM documents WHERE path = ? AND file != ?"
        owner = db.execute(query, (path, file)).fetchone()
        if path in kept or (owner and owner[0] < file):
            doubles.append(Rejected(path, _TAKEN))
            continue
        if owner:  # read again by the next job, which then finds its path taken
            _drop_documents(db, [path])
            db.execute("UPDATE files SET reader = '' WHERE path = ?", owner)
        kept[path] = one
    return list(kept.values()), doubles


def _drop_documents(db: Connection, paths: Sequence[str]) -> None:
    values = [(path,) for path in paths]
    db.executemany("DELETE FROM chunks WHERE document = ?", values)
    db.executemany("DELETE FROM documents WHERE path = ?", values)


def _unpublish(db: Connection) -> None:
    db.execute("DELETE FROM meta WHERE key = ?", (PUBLISHED,))
