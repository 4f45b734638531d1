"""The files on disk against the journal: what is new, changed, moved or gone.

By size and time of change; a file's bytes are read only where these leave a doubt. Nothing grows
in memory with the number of files: what was found lies in a temporary table.
"""

import hashlib
import os
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

from indexer.errors import BadInput
from indexer.job.results import Changes
from indexer.reading.walk import UPLOADS, SourceFile
from indexer.records import Rejected
from indexer.store.catalog import Catalog
from indexer.store.journal import READ, REFUSED, Journal

# A file that changed this shortly before it was read may have changed again within one tick of
# its file system's clock (2 s on FAT): git calls this racy, and looks at the bytes like we do.
RACY_NS = 2_000_000_000
_PAGE = 500
_TABLE = """
CREATE TEMP TABLE IF NOT EXISTS found(
    path TEXT PRIMARY KEY, file BLOB, size INTEGER, mtime_ns INTEGER, action TEXT NOT NULL,
    note TEXT NOT NULL DEFAULT '') WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS temp.found_by_action ON found(action, path);
DELETE FROM found;
"""
SAME, TOUCHED, NEW, CHANGED, RENAMED = "same", "touched", "new", "changed", "renamed"


class Comparison:
    """One look at all files of a domain; `reader` names what reads them."""

    def __init__(self, catalog: Catalog, reader: str) -> None:
        self._catalog = catalog
        self._journal = Journal(catalog)
        self._reader = reader
        self.read_ns = time.time_ns()
        self.doubled: list[Rejected] = []  # whose path another file has
        catalog.scratch(_TABLE)

    def look(
        self,
        found: Iterable[SourceFile | Rejected],
        step: Callable[[int], None],
        emptied: bool = False,
    ) -> Changes:
        """Compare everything that is there, and then what is not.

        BadInput: there is nothing, or nothing any more in the folders, unless they are `emptied`.
        """
        number = 0
        for number, one in enumerate(found, start=1):
            self._take(one)
            step(number)
        self._find_renamed(lambda: step(number))
        counts: dict[str, int] = dict(
            self._catalog.rows("SELECT action, count(*) FROM found GROUP BY action")
        )
        if not counts.keys() - {REFUSED}:
            raise self._nothing()
        if not emptied and self._is_emptied():
            raise self._nothing("; if they are meant to be empty: dslm index --emptied")
        return Changes(
            new=counts.get(NEW, 0),
            changed=counts.get(CHANGED, 0),
            renamed=counts.get(RENAMED, 0),
            gone=self._catalog.count(f"SELECT count(*) FROM ({_GONE})"),
            unchanged=counts.get(SAME, 0) + counts.get(TOUCHED, 0),
        )

    def sources(self, *actions: str) -> Iterator[SourceFile]:
        """By path; the catalog may be written meanwhile."""
        for path, file, size, mtime_ns, _ in self._pages(actions):
            yield SourceFile(path, Path(os.fsdecode(file)), size, mtime_ns)

    def refused(self) -> Iterator[Rejected]:
        for path, _, _, _, reason in self._pages((REFUSED,)):
            yield Rejected(path, reason)

    def renamed(self) -> Iterator[tuple[str, SourceFile]]:
        """The old path, and the file under its new one."""
        for path, file, size, mtime_ns, old in self._pages((RENAMED,)):
            yield old, SourceFile(path, Path(os.fsdecode(file)), size, mtime_ns)

    def gone(self) -> list[str]:
        return [path for (path,) in self._catalog.rows(f"{_GONE} ORDER BY path")]

    def quarantined(self) -> list[Rejected]:
        """What cannot be used as things stand: refused, or read in vain and not changed since."""
        known = (self._journal.entry(source.path) for source in self.sources(SAME, TOUCHED))
        rejected = (r for entry in known if entry for r in entry.rejected)
        return sorted([*self.refused(), *rejected, *self.doubled], key=lambda one: one.path)

    def count_to_read(self) -> int:
        query = "SELECT count(*) FROM found WHERE action IN (?, ?)"
        return self._catalog.count(query, NEW, CHANGED)

    def will_give_documents(self) -> bool:
        """Whether something is new or was read before and has changed; else it may be in vain."""
        return bool(self._catalog.rows(_PROMISING, NEW, CHANGED, READ))

    def bytes_to_read(self) -> int:
        query = "SELECT sum(size) FROM found WHERE action IN (?, ?)"
        return self._catalog.count(query, NEW, CHANGED)

    def _pages(self, actions: tuple[str, ...]) -> Iterator[tuple[str, bytes, int, int, str]]:
        marks = ",".join("?" * len(actions))
        query = (
            "SELECT path, file, size, mtime_ns, note FROM found"
            f" WHERE action IN ({marks}) AND path > ? ORDER BY path LIMIT {_PAGE}"
        )
        last = ""
        while page := self._catalog.rows(query, *actions, last):
            yield from page
            last = page[-1][0]

    def _action(self, source: SourceFile) -> str:
        entry = self._journal.entry(source.path)
        if entry is None or entry.state == REFUSED:
            return NEW
        if entry.reader != self._reader or entry.size != source.size or not entry.sha256:
            return CHANGED
        racy = source.mtime_ns >= entry.read_ns - RACY_NS
        if entry.mtime_ns == source.mtime_ns and not racy:
            return SAME
        return TOUCHED if _digest(source.file) == entry.sha256 else CHANGED

    def _is_emptied(self) -> bool:
        """Whether the folders held files and hold none: a disk that is not mounted, whatever has
        been uploaded beside it."""
        return bool(
            self._catalog.rows(_OURS, READ, UPLOADS)
            and not self._catalog.rows(_OURS_NOW, REFUSED, UPLOADS)
        )

    def _find_renamed(self, step: Callable[[], None]) -> None:
        """A new file with the bytes of one that is gone; each of these is found once."""
        self._catalog.scratch(_LEFT_TABLE)
        self._catalog.scratch(_FILL_LEFT, READ, self._reader)
        for path, file, size in self._catalog.rows(_CANDIDATES, NEW):
            step()
            digest = _digest(Path(os.fsdecode(file)))
            rows = self._catalog.rows(_MOVED, size, digest)
            if rows:
                query = "UPDATE found SET action = ?, note = ? WHERE path = ?"
                self._catalog.scratch(query, RENAMED, rows[0][0], path)
                self._catalog.scratch("DELETE FROM left_over WHERE path = ?", rows[0][0])

    def _take(self, one: SourceFile | Rejected) -> None:
        """Of two with one path the usable one counts, and the other is told beside it."""
        query = "SELECT action, note FROM found WHERE path = ?"
        known = self._catalog.rows(query, one.path)
        if isinstance(one, SourceFile):
            self.doubled += [Rejected(one.path, note) for _, note in known]
            self._put(one.path, one, self._action(one))
        elif known:
            self.doubled.append(one)
        else:
            self._put(one.path, None, REFUSED, one.reason)

    def _put(self, path: str, source: SourceFile | None, action: str, note: str = "") -> None:
        where = (os.fsencode(source.file), source.size, source.mtime_ns) if source else (b"", 0, 0)
        query = "INSERT OR REPLACE INTO found VALUES (?, ?, ?, ?, ?, ?)"
        self._catalog.scratch(query, path, *where, action, note)

    def _nothing(self, more: str = "") -> BadInput:
        query = "SELECT path, note FROM found WHERE action = ? ORDER BY path LIMIT 1"
        rows = self._catalog.rows(query, REFUSED)
        why = f" but what cannot be read: {rows[0][0]} {rows[0][1]}" if rows else ""
        return BadInput(
            f"There are no documents in the domain's folders{why}",
            "Mount or fill them, or correct `documents.paths` in domain.toml;"
            f" what was published has not changed{more}",
        )


def _digest(file: Path) -> str:
    """ "" where the file cannot be read: its reader will say why."""
    try:
        with file.open("rb") as opened:
            return hashlib.file_digest(opened, "sha256").hexdigest()
    except OSError:
        return ""


_GONE = f"""
SELECT path FROM files WHERE path NOT IN (SELECT path FROM found)
    AND path NOT IN (SELECT note FROM found WHERE action = '{RENAMED}')
"""
_PROMISING = """
SELECT 1 FROM found LEFT JOIN files USING (path)
WHERE action = ? OR (action = ? AND files.state = ?) LIMIT 1
"""
_OURS = "SELECT 1 FROM files WHERE state = ? AND substr(path, 1, length(?2)) != ?2 LIMIT 1"
_OURS_NOW = "SELECT 1 FROM found WHERE action != ? AND substr(path, 1, length(?2)) != ?2 LIMIT 1"
# Files that are gone and not found again yet.
_LEFT_TABLE = """
CREATE TEMP TABLE IF NOT EXISTS left_over(
    size INTEGER, sha256 TEXT, path TEXT, PRIMARY KEY (size, sha256, path)) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS temp.left_over_by_path ON left_over(path);
DELETE FROM left_over;
"""
_FILL_LEFT = f"""
INSERT INTO left_over SELECT size, sha256, path FROM files
WHERE state = ? AND reader = ? AND path IN ({_GONE})
"""
_CANDIDATES = """
SELECT path, file, size FROM found
WHERE action = ? AND size > 0 AND size IN (SELECT size FROM left_over) ORDER BY path
"""
_MOVED = "SELECT path FROM left_over WHERE size = ? AND sha256 = ? ORDER BY path LIMIT 1"
