"""Old releases that nothing needs any more, and how they go.

A number is never given twice, so the newest release stays whatever happens to it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from adapters.audit import Cause
from adapters.lease import unused
from adapters.release import Release, ReleaseStore
from indexer.settings import store_errors, sync_folder

KEPT = 5


@dataclass(frozen=True, slots=True)
class Pruned:
    """A release that is not needed; `in_use`: a running process has it open, so it stays."""

    release: Release
    in_use: bool


def removable(store: ReleaseStore, domain: str, keep: int) -> Sequence[int]:
    """All but: the live release, the last `keep` before it, canary, mirror, and what is newer."""
    pointer = store.pointer(domain)
    live = pointer.number()
    if live is None:
        return []
    newest_first = list(dict.fromkeys(reversed(pointer.before())))
    kept = {*newest_first[:keep], *store.traffic(domain).releases().values()}
    numbers = [number for number in store.numbers(domain) if number < live]
    return [number for number in numbers if number not in kept]


def prune(
    store: ReleaseStore, domain: str, keep: int, cause: Cause, *, dry: bool
) -> Sequence[Pruned]:
    """Remove them, or only say which (`dry`); the way back keeps those that are left."""
    with store.unchanged(domain):
        found = [_look(store, domain, number) for number in removable(store, domain, keep)]
        gone = [one.release.number for one in found if not one.in_use]
        if dry or not gone:
            return found
        left = [number for number in store.numbers(domain) if number not in gone]
        more = {"releases": gone}
        with store.audit(domain).change("prune", cause, old=None, new=None, more=more):
            store.pointer(domain).keep(left)
            return [_remove(store, one) for one in found]


def _look(store: ReleaseStore, domain: str, number: int) -> Pruned:
    with unused(store.file(domain, number)) as free:
        return Pruned(store.get(domain, number), not free)


def _remove(store: ReleaseStore, one: Pruned) -> Pruned:
    """A process may have opened it since: then it stays."""
    path = store.file(one.release.domain, one.release.number)
    with store_errors(path), unused(path) as free:
        if free and not one.in_use:
            path.unlink()
            sync_folder(path.parent)
            return one
    return Pruned(one.release, in_use=True)
