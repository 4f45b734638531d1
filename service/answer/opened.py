"""Opens what a release names: its snapshot, its adapter in the engine; and closes it again."""

import asyncio
from dataclasses import dataclass
from typing import Literal

from adapters.base import BaseProfile
from adapters.registry import AdapterRegistry
from adapters.release import Release
from indexer.search.retriever import Retriever
from indexer.settings import Paths
from service.answer.snapshots import OpenSnapshots
from service.engines.switch import AdapterSwitch, Registered
from service.errors import Unavailable

Role = Literal["live", "canary", "mirror", "pinned"]


@dataclass(slots=True, eq=False)
class OpenRelease:
    """A release that answers: its snapshot open, its adapter registered.

    `role`: why it is open. `pinned`: somebody asked for it by its number.
    """

    release: Release
    retriever: Retriever
    adapter: Registered | None
    role: Role = "live"
    users: int = 0

    @property
    def label(self) -> str:
        """`domain@N`, by which it can be asked for when it is no longer live."""
        return f"{self.release.domain}@{self.release.number}"


class Opening:
    """Opens releases and closes each after its last use."""

    def __init__(
        self, paths: Paths, registry: AdapterRegistry, switch: AdapterSwitch, base: BaseProfile
    ) -> None:
        self._snapshots = OpenSnapshots(paths)
        self._registry = registry
        self._switch = switch
        self._base = base

    @property
    def base_digest(self) -> str:
        """What a new release says about its base."""
        return self._base.digest

    async def open(self, release: Release, role: Role) -> OpenRelease:
        """With one user, the caller: `close` must follow. Whatever stands in the way is raised."""
        retriever = await self._snapshots.acquire(release)
        try:
            adapter = await self._adapter(release)
        except BaseException:
            self._snapshots.release(release)
            raise
        return OpenRelease(release, retriever, adapter, role, users=1)

    def close(self, opened: OpenRelease) -> None:
        """End one use; the last one closes what the release held."""
        opened.users -= 1
        if opened.users == 0:
            if opened.adapter:
                self._switch.release(opened.adapter)
            self._snapshots.release(opened.release)

    async def begin(self, opened: OpenRelease) -> None:
        """One answer's use: its adapter keeps its place in the engine, or takes one again."""
        opened.users += 1
        try:
            if opened.adapter:
                await self._switch.hold(opened.adapter)
        except BaseException:
            self.close(opened)
            raise

    def end(self, opened: OpenRelease) -> None:
        """End what `begin` began."""
        if opened.adapter:
            self._switch.let_go(opened.adapter)
        self.close(opened)

    async def settle(self) -> None:
        """Wait until the adapters of what was closed are unloaded."""
        await self._switch.settle()

    async def _adapter(self, release: Release) -> Registered | None:
        if release.adapter is None:
            return None
        if release.base != self._base.digest:
            raise Unavailable(
                f"Release {release.number} of {release.domain} needs another base than "
                f"{self._base.name}",
                "Serve that base, train the adapter on this one, or set the adapter to null",
            )
        manifest = await asyncio.to_thread(self._registry.get, release.adapter.digest)
        return await self._switch.acquire(manifest)
