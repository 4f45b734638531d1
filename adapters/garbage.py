"""Adapter versions that nobody needs any more, and how they go; their numbers stay taken."""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final

from adapters.audit import Cause
from adapters.lease import unused
from adapters.lifecycle import Lifecycle, State
from adapters.manifest import MANIFEST_FILE, AdapterManifest
from adapters.registry import AdapterRegistry
from adapters.release import ReleaseStore
from adapters.uses import Use, domains, is_live, uses
from indexer.domain import Domain
from indexer.errors import NotFound
from indexer.settings import Paths, store_errors

OLD_DRAFT: Final = 30  # days


@dataclass(frozen=True, slots=True)
class Collected:
    """A version that is retired, or a draft nobody went on with. `kept` says why it stays."""

    manifest: AdapterManifest
    state: State
    bytes: int
    kept: str = ""


@dataclass(frozen=True, slots=True)
class Garbage:
    """What came of it; `leftovers` are folders that killed processes left."""

    versions: Sequence[Collected]
    leftovers: Sequence[Path]

    @property
    def freed(self) -> int:
        """Bytes of the versions that go."""
        return sum(one.bytes for one in self.versions if not one.kept)


def collect(
    paths: Paths,
    served: Collection[Domain],
    cause: Cause,
    *,
    dry: bool,
    days: int = OLD_DRAFT,
) -> Garbage:
    """Remove what is retired and what is an old draft, or only say what would go (`dry`).

    Kept is what any release of any domain names, what a domain's file names, and what a process
    has leased. While it runs nobody makes a release, adds a version or takes one away.
    """
    registry, lifecycle = AdapterRegistry(paths), Lifecycle(paths)
    with _unchanging(paths, registry):
        needed, named = uses(paths), _named(registry, served)
        found = []
        for manifest in registry.list():
            state = lifecycle.state(
                manifest.digest, is_live=is_live(needed.get(manifest.digest, ()))
            )
            if state == "retired" or (state == "draft" and _is_old(manifest, days)):
                kept = _why_kept(manifest, needed, named)
                one = Collected(manifest, state, _size(registry.folder(manifest)), kept)
                found.append(one if kept else _gone(registry, lifecycle, one, cause, dry))
        leftovers = registry.unnamed()
        if not dry:
            for folder in leftovers:
                with store_errors(folder):
                    shutil.rmtree(folder)
    return Garbage(found, leftovers)


@contextlib.contextmanager
def _unchanging(paths: Paths, registry: AdapterRegistry) -> Iterator[None]:
    """Domains first, in their order: whoever makes a release holds one and then reads adapters."""
    store = ReleaseStore(paths)
    with contextlib.ExitStack() as stack:
        for domain in domains(paths):
            stack.enter_context(store.unchanged(domain))
        stack.enter_context(registry.locked())
        yield


def _named(registry: AdapterRegistry, served: Collection[Domain]) -> Mapping[str, str]:
    """By digest the domain whose file names the version, for its first release."""
    found = {}
    for domain in served:
        if domain.adapter:
            with contextlib.suppress(NotFound):
                found[registry.get(domain.adapter).digest] = domain.name
    return found


def _why_kept(
    manifest: AdapterManifest, needed: Mapping[str, Sequence[Use]], named: Mapping[str, str]
) -> str:
    if manifest.digest in named:
        return f"{named[manifest.digest]}'s domain.toml names it"
    return ", ".join(map(str, needed.get(manifest.digest, ())))


def _gone(
    registry: AdapterRegistry, lifecycle: Lifecycle, one: Collected, cause: Cause, dry: bool
) -> Collected:
    """Unless a process uses its files: then it stays."""
    with unused(registry.folder(one.manifest) / MANIFEST_FILE) as free:
        if not free:
            return Collected(one.manifest, one.state, one.bytes, "a process uses it")
        if not dry:
            why = Cause(cause.who, f"files removed. {cause.why}".strip())
            lifecycle.record(one.manifest.digest, "retired", why)
            registry.remove(one.manifest)
    return one


def _is_old(manifest: AdapterManifest, days: int) -> bool:
    return datetime.now(UTC) - manifest.created > timedelta(days=days)


def _size(folder: Path) -> int:
    with store_errors(folder):
        return sum(file.stat().st_size for file in folder.iterdir())
