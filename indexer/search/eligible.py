"""Which rows a question may find: what its filter allows, less what was deleted meanwhile."""

import json
import threading
from collections import OrderedDict
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from indexer.search.filters import Filter
from indexer.store.snapshot import Snapshot

Rows = NDArray[np.int64]
Hidden = Mapping[str, str]  # a deleted document's path to its id

_REMEMBERED = 16
# Where chunks alike are kept once, the row stands for every place that holds its text.
_ALLOWED = """
WITH wanted(document) AS ({documents})
SELECT row FROM chunks WHERE document IN wanted
UNION SELECT row FROM copies WHERE document IN wanted
"""
_EXCLUDED = """
WITH hidden(path) AS (
    SELECT d.path FROM json_each(?) h JOIN documents d ON d.path = h.key AND d.id = h.value)
SELECT row FROM chunks WHERE document IN hidden AND NOT EXISTS (
    SELECT 1 FROM copies k WHERE k.row = chunks.row AND k.document NOT IN hidden)
"""


@dataclass(frozen=True, slots=True)
class Eligible:
    """Row numbers, None for no limit; `shown` tells of some documents which may be shown."""

    allowed: Rows | None
    excluded: Rows | None
    shown: Callable[[Collection[str]], Collection[str]]

    @property
    def none(self) -> bool:
        """Is there nothing to look through?"""
        return self.allowed is not None and not len(self.allowed)


EVERY = Eligible(None, None, set)


class Eligibility:
    """Answers for one snapshot; remembers the filters asked last and the deleted rows."""

    def __init__(self, snapshot: Snapshot, hidden: Callable[[], Hidden]) -> None:
        self._snapshot = snapshot
        self._hidden = hidden
        self._lock = threading.Lock()
        self._allowed: OrderedDict[Filter, Rows] = OrderedDict()
        self._excluded: tuple[Hidden, Rows | None] = ({}, None)

    def of(self, wanted: Filter | None) -> Eligible:
        """BadInput if a field of the filter is unknown."""
        hidden = self._hidden()
        allowed = self._allow(wanted) if wanted else None
        excluded = self._exclude(hidden) if hidden else None
        if allowed is not None and excluded is not None:
            allowed, excluded = np.setdiff1d(allowed, excluded, assume_unique=True), None
        return Eligible(allowed, excluded, lambda paths: self._shown(paths, wanted, hidden))

    def _allow(self, wanted: Filter) -> Rows:
        with self._lock:
            if wanted in self._allowed:
                self._allowed.move_to_end(wanted)
                return self._allowed[wanted]
        wanted.check(self._snapshot.read)
        query, values = wanted.documents()
        rows = self._rows(_ALLOWED.format(documents=query), *values)
        with self._lock:
            self._allowed[wanted] = rows
            while len(self._allowed) > _REMEMBERED:
                self._allowed.popitem(last=False)
        return rows

    def _exclude(self, hidden: Hidden) -> Rows | None:
        known, rows = self._excluded
        if known is not hidden:
            rows = self._rows(_EXCLUDED, json.dumps(dict(hidden)))
            self._excluded = hidden, rows
        return rows  # perhaps none: what a deleted document shared is then shown elsewhere

    def _rows(self, query: str, *values: str | float) -> Rows:
        found = self._snapshot.read(query, *values)
        return np.sort(np.fromiter((row for (row,) in found), dtype=np.int64, count=len(found)))

    def _shown(
        self, paths: Collection[str], wanted: Filter | None, hidden: Hidden
    ) -> Collection[str]:
        if wanted:
            query, values = wanted.documents()
            among = "SELECT document FROM ({}) WHERE document IN (SELECT value FROM json_each(?))"
            found = self._snapshot.read(among.format(query), *values, json.dumps(list(paths)))
            paths = [path for (path,) in found]
        if hidden:
            known = self._snapshot.read(
                "SELECT path, id FROM documents WHERE path IN (SELECT value FROM json_each(?))",
                json.dumps(list(paths)),
            )
            paths = [path for path, name in known if hidden.get(path) != name]
        return set(paths)
