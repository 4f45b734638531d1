"""Which release of each domain answers whom. The only place that changes it while serving.

A swap of an adapter, a fresh index and a rollback are one operation: open the other release,
point LIVE at it, let running answers finish on the old one, close that.
"""

import asyncio
import logging
import time
from collections import OrderedDict
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager

from adapters.registry import AdapterRegistry
from adapters.release import Release, ReleaseStore
from indexer.domain import Domain
from indexer.errors import DslmError, NotFound
from indexer.settings import Paths
from service.answer.beside import Beside, Caller, Part
from service.answer.following import Follower
from service.answer.opened import Opening
from service.answer.opened import OpenRelease as OpenRelease
from service.engines.fleet import Engines
from service.errors import Conflict, Unavailable, UnknownDomain
from service.telemetry import Telemetry

log = logging.getLogger("dslm.releases")
KEPT_OPEN = 4
MOST_TRIES = 8
Publish = Callable[[Release], Release]


class Releases:
    """Opens releases, leases them to answers, and follows LIVE."""

    def __init__(
        self,
        domains: Mapping[str, Domain],
        paths: Paths,
        registry: AdapterRegistry,
        engines: Engines,
        telemetry: Telemetry,
    ) -> None:
        self.domains = domains
        self.store = ReleaseStore(paths)
        self.opening = Opening(paths, registry, engines, domains)
        self.beside = Beside(domains, self.store, self.opening, telemetry)
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

    async def acquire(self, model: str, caller: Caller | None = None) -> OpenRelease:
        """Hold what answers for `domain`, or release N by `domain@N`; `release` must follow.

        `caller` says who asks: some fall to the canary. Without one it is the live release.
        """
        name, at, number = model.partition("@")
        self.domain(name)
        opened = self._numbered(name, number) if at else self._answering(name, caller)
        if opened is None and at:
            opened = await self._pin(name, number)
        if opened is None:
            raise Unavailable(
                f"The domain '{name}' has no live release",
                f"Run `dslm index {name}`",
                retry_after=10,
            )
        self.opening.begin(opened)
        return opened

    def answering(self, name: str, caller: Caller) -> Release | None:
        """The release that this caller's question to a domain would get now."""
        opened = self._answering(name, caller)
        return opened.release if opened else None

    def release(self, opened: OpenRelease) -> None:
        """End one answer's use; the last one closes what the release held."""
        self.opening.end(opened)

    async def follow(self) -> None:
        """Follow LIVE and TRAFFIC, which other processes may change, until cancelled."""
        await Follower(self.store.paths, self.domains, self.refresh, self._serves).run()

    async def refresh(self, name: str) -> None:
        """Open what LIVE and TRAFFIC name, if that is not what answers."""
        async with self._changing[name]:
            release = await asyncio.to_thread(self.store.live, name)
            live = self._live.get(name)
            if release and (live is None or live.release.number != release.number):
                self._replace(name, await self.opening.open(release, "live"))
            await self.beside.match(name)

    async def close(self) -> None:
        """Close what no answer uses any more, and have the adapters unloaded."""
        for opened in (*self._live.values(), *self._pinned.values()):
            self.opening.close(opened)
        self._live.clear()
        self._pinned.clear()
        self.beside.close()
        await self.opening.settle()

    def changing(self, name: str) -> asyncio.Lock:
        """One change of a domain at a time: they wait here, not on threads that others need."""
        return self._changing[name]

    @contextmanager
    def refusals(self, name: str) -> Iterator[None]:
        """Count what keeps a release from going live, the engine's refusal of its adapter too."""
        try:
            yield
        except DslmError:
            self._telemetry.swaps_refused.labels(name).inc()
            raise

    async def flip(self, name: str, target: Callable[[], Release], publish: Publish) -> Release:
        """Open `target` first: if that fails nothing has changed. Then LIVE, then the reference.

        Where `publish` finds that another process has changed the target meanwhile, it returns
        the new one and has changed nothing: then that is opened.
        """
        began = time.monotonic()
        with self.refusals(name):
            release = await self._flip(name, target, publish)
        self._telemetry.swaps.labels(name).observe(time.monotonic() - began)
        return release

    async def _flip(self, name: str, target: Callable[[], Release], publish: Publish) -> Release:
        async with self._changing[name]:
            for _ in range(MOST_TRIES):
                release = await asyncio.to_thread(target)
                opened = await self.opening.open(release, "live")
                try:
                    published = await asyncio.to_thread(publish, release)
                except BaseException:
                    self.opening.close(opened)
                    raise
                if published.number == release.number:
                    self._replace(name, opened)
                    await self._match(name)
                    return release
                self.opening.close(opened)
        raise Conflict(f"Others change the releases of '{name}' all the time", "Try again")

    async def put_beside(
        self, name: str, part: Part, number: int, publish: Callable[[], Release]
    ) -> Release:
        """Open a canary or mirror first: if that fails nothing has changed. Then TRAFFIC."""
        async with self._changing[name]:
            release = await asyncio.to_thread(self.store.get, name, number)
            opened = await self.opening.open(release, part)
            try:
                await asyncio.to_thread(publish)
                await self._match(name)
            finally:
                self.opening.close(opened)
        return release

    async def _match(self, name: str) -> None:
        """After a change that has been made: what fails now is tried again by `follow`."""
        try:
            await self.beside.match(name)
        except DslmError as error:
            log.warning("beside the live release of %s: %s", name, error)

    def _serves(self, name: str) -> object:
        live = self._live.get(name)
        return (live and live.release.number, *self.beside.parts(name))

    def _replace(self, name: str, opened: OpenRelease) -> None:
        old = self._live.get(name)
        self._live[name] = opened
        log.info("%s answers with release %d", name, opened.release.number)
        if old:
            self.opening.close(old)

    def _answering(self, name: str, caller: Caller | None) -> OpenRelease | None:
        live = self._live.get(name)
        return (caller and live and self.beside.canary(name, caller)) or live

    def _numbered(self, name: str, number: str) -> OpenRelease | None:
        live = self._live.get(name)
        if live and str(live.release.number) == number:
            return live
        return self.beside.numbered(name, number)

    async def _pin(self, name: str, number: str) -> OpenRelease:
        """A release that is not live; the last few asked for stay open."""
        label = f"{name}@{number}"
        async with self._changing[name]:
            if label not in self._pinned:
                release = await asyncio.to_thread(self._find, name, number)
                self._pinned[label] = await self.opening.open(release, "pinned")
        self._pinned.move_to_end(label)
        opened = self._pinned[label]
        while len(self._pinned) > KEPT_OPEN:
            self.opening.close(self._pinned.popitem(last=False)[1])
        return opened

    def _find(self, name: str, number: str) -> Release:
        try:
            if str(int(number)) != number:
                raise ValueError(number)
            return self.store.get(name, int(number))
        except (ValueError, NotFound) as error:
            raise UnknownDomain(
                f"The domain '{name}' has no release '{number}'",
                f"See `dslm release list {name}`",
                param="model",
            ) from error
