"""The documents of the domains as the API shows them: each file with its state, and deletes.

What the folder of uploads holds, what the job's journal says of every file, and what the live
snapshot answers from are three things; a file's state tells how they agree.
"""

import heapq
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from itertools import groupby, islice
from typing import Literal, Protocol

from indexer.settings import Paths
from indexer.store.catalog import Catalog
from indexer.store.tables import Row
from indexer.store.tombstones import Tombstone, Tombstones
from service.errors import Conflict, UnknownName
from service.uploads import PREFIX, Uploads, clean_name

State = Literal["pending", "indexed", "changed", "quarantined", "deleted"]
MAX_REASONS = 20
_JOURNAL = """
SELECT path, size, mtime_ns, state, error FROM files WHERE path > ? ORDER BY path
"""
_READ = "read"
_HELD = "SELECT path, id FROM documents WHERE path = ? OR (path > ? AND path < ?)"


class Snapshot(Protocol):
    """What is asked of the live snapshot."""

    def read(self, query: str, *values: str | int) -> list[Row]: ...


@dataclass(slots=True)
class Known:
    """What is known of one file: as it lies there, as the last job read it, as it is answered."""

    path: str
    here: tuple[int, int] | None = None  # size and mtime in ns
    read: tuple[int, int] | None = None
    result: str = ""
    left_out: Sequence[Sequence[str]] = ()
    buried: Tombstone | None = None
    held: Mapping[str, str] = field(default_factory=dict)

    def answered(self) -> dict[str, str]:
        """What the live snapshot holds of it and does not hide; path to id."""
        hidden = self.buried.documents if self.buried else {}
        return {p: name for p, name in self.held.items() if name not in hidden.get(p, ())}


@dataclass(frozen=True, slots=True)
class Listed:
    """One file. `documents`: how many the live snapshot holds of it; `reasons`: what was left out
    of it and why."""

    path: str
    state: State
    bytes: int
    created_at: int
    documents: int
    uploaded: bool
    reasons: tuple[str, ...] = ()

    def describe(self) -> dict[str, object]:
        """As the API shows it."""
        return {"id": self.path, "object": "document", **asdict(self)}


class Documents:
    """Uploads, deletes and states of every domain. Blocking: called from worker threads."""

    def __init__(self, paths: Paths, domains: Sequence[str]) -> None:
        self._paths = paths
        self._uploads = {name: Uploads(paths.uploads(name)) for name in domains}
        self._tombstones = {name: Tombstones(paths.tombstones(name)) for name in domains}

    def uploads(self, domain: str) -> Uploads:
        return self._uploads[domain]

    def clear_stale(self) -> None:
        """Remove what a killed service left of half uploads."""
        for uploads in self._uploads.values():
            uploads.clear_stale()

    def delete(self, domain: str, path: str, live: Snapshot | None) -> None:
        """Hide an uploaded file's documents from now on, and remove it. UnknownName, Conflict."""
        uploads = self._uploads[domain]
        name = clean_name(path.removeprefix(PREFIX))
        if not path.startswith(PREFIX) or uploads.find(name) is None:
            raise self._undeletable(domain, path, live)
        # First the note: whatever ends us in between, nothing is answered from a missing file.
        self._tombstones[domain].bury(PREFIX + name, self._paths.snapshots(domain))
        uploads.remove(name)
        # And again: a job that began after the first may have found the file still there.
        self._tombstones[domain].bury(PREFIX + name, self._paths.snapshots(domain))

    def is_hidden(self, domain: str, path: str, document_id: str) -> bool:
        """Whether this content was deleted since the snapshots were made."""
        entries = self._tombstones[domain].entries()
        return any(document_id in entry.documents.get(path, ()) for entry in entries.values())

    def page(
        self, domain: str, live: Snapshot | None, after: str, limit: int, state: str | None = None
    ) -> list[Listed]:
        """At most `limit`, by path, of those after `after`; state None: in any."""
        with Catalog.read_only(self._paths.catalog(domain)) as catalog:
            every = (_listed(catalog, known) for known in self._known(domain, catalog, live, after))
            found = (one for one in every if one and state in (None, one.state))
            return list(islice(found, limit))

    def _undeletable(self, domain: str, path: str, live: Snapshot | None) -> Exception:
        parts = path.split("/")
        for depth in range(len(parts) - 1, 1, -1):
            whole = "/".join(parts[1:depth])
            if parts[0] + "/" == PREFIX and self._uploads[domain].find(whole):
                return Conflict(f"'{path}' is a part of '{PREFIX}{whole}'", "Delete that")
        with Catalog.read_only(self._paths.catalog(domain)) as catalog:
            known = catalog.count("SELECT count(*) FROM files WHERE path = ?", path)
        if path.startswith(PREFIX) or not (known or (live and _held(live, path))):
            return UnknownName(f"The domain '{domain}' has no document '{path}'")
        remedy = "Remove it there and index the domain"
        return Conflict(f"'{path}' belongs to the folder of the domain '{domain}'", remedy)

    def _known(
        self, domain: str, catalog: Catalog, live: Snapshot | None, after: str
    ) -> Iterator[Known]:
        uploads = self._uploads[domain].walk(after)
        buried = self._tombstones[domain].entries()
        sources = (
            (Known(upload.path, here=(upload.size, upload.mtime_ns)) for upload in uploads),
            (_journalled(row) for row in catalog.stream(_JOURNAL, after)),
            (Known(path, buried=buried[path]) for path in sorted(buried) if path > after),
        )
        for path, group in groupby(heapq.merge(*sources, key=_path), _path):
            known = Known(path, held=_held(live, path) if live else {})
            for part in group:
                known.here = part.here or known.here
                known.buried = part.buried or known.buried
                if part.read:
                    known.read, known.result = part.read, part.result
                    known.left_out = part.left_out
            yield known


def _path(known: Known) -> str:
    return known.path


def _journalled(row: Row) -> Known:
    path, size, mtime_ns, state, error = row
    left_out = json.loads(error) if error else ()
    return Known(path, read=(size, mtime_ns), result=state, left_out=left_out)


def _listed(catalog: Catalog, known: Known) -> Listed | None:
    """None for a deleted file that nothing answers from any more."""
    uploaded = known.path.startswith(PREFIX)
    if uploaded and known.here is None:
        at, count = known.buried.at // 10**9 if known.buried else 0, len(known.held)
        return Listed(known.path, "deleted", 0, at, count, uploaded) if count else None
    size, mtime_ns = known.here or known.read or (0, 0)
    answered = known.answered()
    state = _state(catalog, known, answered)
    told = known.left_out[:MAX_REASONS] if state in {"indexed", "quarantined"} else ()
    reasons = tuple(f"{path}: {reason}" for path, reason in told)
    return Listed(known.path, state, size, mtime_ns // 10**9, len(answered), uploaded, reasons)


def _state(catalog: Catalog, known: Known, answered: Mapping[str, str]) -> State:
    unknown: State = "changed" if answered else "pending"
    # What was not even opened was not measured.
    measured = known.read is not None and any(known.read)
    if known.read is None or (measured and known.here not in {None, known.read}):
        return unknown
    if known.result != _READ:
        return "quarantined"
    read: dict[str, str] = dict(
        catalog.rows("SELECT path, id FROM documents WHERE file = ?", known.path)
    )
    return "indexed" if read == answered else unknown


def _held(live: Snapshot, path: str) -> dict[str, str]:
    """What the snapshot holds of the file: a document, or one for each of its rows; path to id."""
    return dict(live.read(_HELD, path, f"{path}/", f"{path}0"))
