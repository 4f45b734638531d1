"""Snapshots in use: each opened once, however many releases rest on it."""

import asyncio
from collections import Counter

from adapters.release import Release
from indexer.search.retriever import Retriever
from indexer.settings import Paths
from indexer.store.snapshot import open_snapshot
from indexer.store.tombstones import Tombstones, hidden_in


class OpenSnapshots:
    """A change of adapter keeps the snapshot: it need not be read again for that."""

    def __init__(self, paths: Paths) -> None:
        self._paths = paths
        self._open: dict[tuple[str, str], Retriever] = {}
        self._users: Counter[tuple[str, str]] = Counter()
        self._opening = asyncio.Lock()

    async def acquire(self, release: Release) -> Retriever:
        """The release's snapshot; `release` must follow."""
        key = (release.domain, release.snapshot)
        async with self._opening:
            if key not in self._open:
                self._open[key] = await asyncio.to_thread(_retriever, self._paths, *key)
            self._users[key] += 1
            return self._open[key]

    def release(self, release: Release) -> None:
        """End one use; the last one closes it."""
        key = (release.domain, release.snapshot)
        self._users[key] -= 1
        if self._users[key] == 0:
            del self._users[key]
            self._open.pop(key).close()


def _retriever(paths: Paths, domain: str, snapshot_id: str) -> Retriever:
    """Obeys deletes from the next question on: each looks whether there is a new one."""
    snapshot = open_snapshot(paths.snapshot(domain, snapshot_id))
    return Retriever(snapshot, hidden_in(Tombstones(paths.tombstones(domain)), snapshot))
