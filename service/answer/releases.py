"""Which release of each domain answers now. The only place that changes it while serving.

A swap of an adapter, a fresh index and a rollback are one operation: open the other release,
point LIVE at it, let running answers finish on the old one, close that.
"""

import asyncio
import logging
import time
from collections import OrderedDict
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager

from adapters.base import BaseProfile
from adapters.registry import AdapterRegistry
from adapters.release import Release, ReleaseStore
from indexer.domain import Domain, load_domain
from indexer.errors import NotFound
from indexer.settings import Paths
from service.answer.opened import Opening
from service.answer.opened import OpenRelease as OpenRelease
from service.engines.switch import AdapterSwitch
from service.errors import Unavailable, UnknownDomain
from service.telemetry import Telemetry

log = logging.getLogger("dslm.releases")
FOLLOW_SECONDS = 1.0
KEPT_OPEN = 4


class Releases:
    """Opens releases, leases them to answers, and follows LIVE."""

    def __init__(
        self,
        domains: Mapping[str, Domain],
        paths: Paths,
        registry: AdapterRegistry,
        switch: AdapterSwitch,
        base: BaseProfile,
        telemetry: Telemetry,
    ) -> None:
        self.domains = domains
        self.store = ReleaseStore(paths)
        self._opening = Opening(paths, registry, switch, base)
        self._registry = registry
        self._switch = switch
        self._telemetry = telemetry
        self._live: dict[str, OpenRelease] = {}
        self._pinned: OrderedDict[str, OpenRelease] = OrderedDict()
        self._changing = {name: asyncio.Lock() for name in domains}

    def live(self) -> dict[str, Release]:
        """The release that answers, for every domain that has one."""
        return {name: opened.release for name, opened in self._live.items()}

    def domain(self, name: str) -> Domain:
        """UnknownDomain, naming those that exist, if there is none of this name."""
        if name not in self.domains:
            known = ", ".join(self.domains) or "none"
            raise UnknownDomain(f"There is no domain '{name}'", f"Domains: {known}", param="model")
        return self.domains[name]

    @asynccontextmanager
    async def lease(self, model: str) -> AsyncIterator[OpenRelease]:
        """Hold a release for the block: see `acquire`."""
        opened = await self.acquire(model)
        try:
            yield opened
        finally:
            self.release(opened)

    async def acquire(self, model: str) -> OpenRelease:
        """Hold the live release of `domain`, or release N by `domain@N`; `release` must follow."""
        name, at, number = model.partition("@")
        self.domain(name)
        live = self._live.get(name)
        if at and (live is None or str(live.release.number) != number):
            opened = await self._pin(name, number)
        elif live is None:
            raise Unavailable(
                f"The domain '{name}' has no live release",
                f"Run `dslm index {name}`",
                retry_after=10,
            )
        else:
            opened = live
        await self._opening.begin(opened)
        return opened

    def release(self, opened: OpenRelease) -> None:
        """End one answer's use; the last one closes what the release held."""
        self._opening.end(opened)

    async def set_adapter(self, name: str, reference: str | None) -> Release:
        """Make and activate a release with another adapter (None: without).

        The engine takes the adapter first, so a refusal leaves no release behind.
        """
        folder = self.domain(name).folder
        manifest = await asyncio.to_thread(self._registry.get, reference) if reference else None
        entry = await self._switch.acquire(manifest) if manifest else None

        def create() -> Release:
            digest = self._opening.base_digest
            domain = load_domain(folder)
            return self.store.create(domain, adapter=manifest, base=digest, activate=False)

        try:
            return await self._flip(name, create)
        finally:
            if entry:
                self._switch.release(entry)

    async def activate(self, name: str, number: int) -> Release:
        """Let release `number` answer."""
        self.domain(name)
        return await self._flip(name, lambda: self.store.get(name, number))

    async def rollback(self, name: str) -> Release:
        """Let the release answer that did so before the live one."""
        self.domain(name)
        return await self._flip(
            name, lambda: self.store.previous(name), lambda _: self.store.rollback(name)
        )

    async def follow(self) -> None:
        """Follow LIVE, which other processes may move, until cancelled."""
        told: dict[str, str] = {}
        while True:
            for name in self.domains:
                try:
                    await self.refresh(name)
                    told.pop(name, None)
                except Exception as error:  # nobody else would notice that following has ended
                    if told.get(name) != str(error):
                        log.warning("cannot follow LIVE of %s: %r", name, error)
                    told[name] = str(error)
            await asyncio.sleep(FOLLOW_SECONDS)

    async def refresh(self, name: str) -> None:
        """Open what LIVE names, if that is not what answers."""
        async with self._changing[name]:
            release = await asyncio.to_thread(self.store.live, name)
            live = self._live.get(name)
            if release and (live is None or live.release.number != release.number):
                self._replace(name, await self._opening.open(release, "live"))

    async def close(self) -> None:
        """Close what no answer uses any more, and have the adapters unloaded."""
        for opened in (*self._live.values(), *self._pinned.values()):
            self._opening.close(opened)
        self._live.clear()
        self._pinned.clear()
        await self._opening.settle()

    async def _flip(
        self,
        name: str,
        target: Callable[[], Release],
        publish: Callable[[Release], object] | None = None,
    ) -> Release:
        """Open `target` first: if that fails nothing has changed. Then LIVE, then the reference."""
        began = time.monotonic()
        async with self._changing[name]:
            release = await asyncio.to_thread(target)
            opened = await self._opening.open(release, "live")
            try:
                point = publish or (lambda r: self.store.activate(name, r.number))
                await asyncio.to_thread(point, release)
            except BaseException:
                self._opening.close(opened)
                raise
            self._replace(name, opened)
        self._telemetry.swaps.labels(name).observe(time.monotonic() - began)
        return release

    def _replace(self, name: str, opened: OpenRelease) -> None:
        old = self._live.get(name)
        self._live[name] = opened
        log.info("%s answers with release %d", name, opened.release.number)
        if old:
            self._opening.close(old)

    async def _pin(self, name: str, number: str) -> OpenRelease:
        """A release that is not live; the last few asked for stay open."""
        label = f"{name}@{number}"
        async with self._changing[name]:
            if label not in self._pinned:
                release = await asyncio.to_thread(self._numbered, name, number)
                self._pinned[label] = await self._opening.open(release, "pinned")
        self._pinned.move_to_end(label)
        opened = self._pinned[label]
        while len(self._pinned) > KEPT_OPEN:
            self._opening.close(self._pinned.popitem(last=False)[1])
        return opened

    def _numbered(self, name: str, number: str) -> Release:
        try:
            return self.store.get(name, int(number))
        except (ValueError, NotFound) as error:
            raise UnknownDomain(
                f"The domain '{name}' has no release '{number}'",
                f"See `dslm release list {name}`",
                param="model",
            ) from error
