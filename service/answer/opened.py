"""Opens what a release names: its snapshot, its adapter in the engine; and closes it again."""

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Literal

from adapters.lease import ReleaseLease
from adapters.manifest import AdapterManifest
from adapters.registry import AdapterRegistry
from adapters.release import Release, ReleaseStore
from indexer.domain import Domain
from indexer.search.retriever import Retriever
from indexer.settings import Paths
from service.answer.snapshots import OpenSnapshots
from service.engines.fleet import Engines
from service.engines.folders import known
from service.engines.pool import EnginePool, Held
from service.errors import Unavailable

Role = Literal["live", "canary", "mirror", "pinned"]


@dataclass(slots=True, eq=False)
class OpenRelease:
    """A release that answers: its snapshot open, its adapter registered.

    `role`: why it is open. `pinned`: somebody asked for it by its number.
    """

    release: Release
    retriever: Retriever
    adapter: Held | None
    lease: ReleaseLease
    pool: EnginePool
    role: Role = "live"
    users: int = 0

    @property
    def label(self) -> str:
        """`domain@N`, by which it can be asked for when it is no longer live."""
        return f"{self.release.domain}@{self.release.number}"

    def refusal(self) -> str:
        """Why no engine takes its adapter, empty unless it was refused."""
        return self.adapter.refusal if self.adapter else ""


class Opening:
    """Opens releases and closes each after its last use."""

    def __init__(
        self,
        paths: Paths,
        registry: AdapterRegistry,
        engines: Engines,
        domains: Mapping[str, Domain],
    ) -> None:
        self._snapshots = OpenSnapshots(paths)
        self._store = ReleaseStore(paths)
        self._registry = registry
        self._engines = engines
        self._domains = domains

    def base_of(self, domain: str) -> str:
        """What a new release of this domain says about its base."""
        return self._pool(domain).base.digest

    def require_ready(self, domain: str) -> None:
        """Unavailable while no engine of the domain's base answers."""
        self._pool(domain).require_ready()

    @asynccontextmanager
    async def registered(self, domain: str, reference: str) -> AsyncIterator[AdapterManifest]:
        """For the block an adapter is in the domain's engines; whatever refuses it is raised."""
        manifest = await asyncio.to_thread(known, self._registry, reference)
        pool = self._pool(domain)
        pool.require_ready()
        held = await pool.hold(manifest)
        try:
            yield manifest
        finally:
            pool.let_go(held)

    async def open(self, release: Release, role: Role) -> OpenRelease:
        """With one user, the caller: `close` must follow. Whatever stands in the way is raised."""
        path = self._store.file(release.domain, release.number)
        lease = ReleaseLease(path)  # at once: nothing that an abandoned thread could leave open
        try:
            retriever = await self._snapshots.acquire(release)
        except BaseException:
            lease.end()
            raise
        try:
            pool = self._engines.answering(release.base, self._domains[release.domain].base)
            adapter = await self._adapter(release, pool)
        except BaseException:
            lease.end()
            self._snapshots.release(release)
            raise
        return OpenRelease(release, retriever, adapter, lease, pool, role, users=1)

    def close(self, opened: OpenRelease) -> None:
        """End one use; the last one closes what the release held."""
        opened.users -= 1
        if opened.users == 0:
            if opened.adapter:
                opened.pool.let_go(opened.adapter)
            self._snapshots.release(opened.release)
            opened.lease.end()

    @staticmethod
    def begin(opened: OpenRelease) -> None:
        """One answer's use; `end` must follow."""
        opened.users += 1

    def end(self, opened: OpenRelease) -> None:
        """End what `begin` began."""
        self.close(opened)

    async def settle(self) -> None:
        """Wait until the adapters of what was closed are unloaded."""
        await self._engines.settle()

    def _pool(self, domain: str) -> EnginePool:
        return self._engines[self._domains[domain].base]

    async def _adapter(self, release: Release, pool: EnginePool) -> Held | None:
        if release.adapter is None:
            return None
        if release.base != pool.base.digest:
            raise Unavailable(
                f"Release {release.number} of {release.domain} needs another base than "
                f"{pool.base.title}",
                "Serve that base, train the adapter on this one, or set the adapter to null",
            )
        manifest = await asyncio.to_thread(known, self._registry, release.adapter.digest)
        return await pool.hold(manifest)
