"""Which engine answers this: the engines of one base, and how a request chooses among them.

Rendezvous hashing gives each adapter an order of the engines that hardly changes when one comes or
goes, so its weights and its cached prompts stay where they are. A release's adapter is held by the
first two engines of its order while the release is open: one answers, the other takes over at once.
Whoever else must answer loads it before it is asked, and keeps it while the release is open: beyond
its places an engine's switch parks those that write no answer.
"""

import hashlib
import math
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from typing import Any

from adapters.manifest import AdapterManifest
from service.engines.bases import ServedBase
from service.engines.engine import Engine
from service.engines.supervisor import EngineSupervisor
from service.engines.switch import AdapterSwitch, Registered
from service.errors import EngineRejected, Overloaded, ServiceError, Unavailable
from service.telemetry import EngineMeters

HOMES = 2
# Bounded loads (arXiv 1608.01350): an engine takes a quarter more than the mean before others help.
SLACK = 1.25
# So many answers at once cost an engine that batches hardly more than one.
EASY = 8


@dataclass(slots=True, eq=False)
class Unit:
    """One engine with everything that belongs to it alone."""

    name: str
    engine: Engine
    supervisor: EngineSupervisor
    switch: AdapterSwitch
    meters: EngineMeters
    in_flight: int = 0

    @property
    def ready(self) -> bool:
        return self.supervisor.ready

    def count(self, change: int) -> None:
        """One answer more or less at work here."""
        self.in_flight += change
        self.meters.in_flight.set(self.in_flight)


@dataclass(slots=True, eq=False)
class Held:
    """An adapter in use by an open release, and where it is registered for that."""

    manifest: AdapterManifest
    places: dict[Unit, Registered] = field(default_factory=dict)

    @property
    def refusal(self) -> str:
        """Why no engine takes it; empty while one does."""
        refusals = [entry.refusal or "" for entry in self.places.values()]
        return refusals[0] if refusals and all(refusals) else ""


@dataclass(slots=True, eq=False)
class Lease:
    """One request's place at an engine; `called`: what that engine calls whom it is to ask."""

    unit: Unit
    called: str
    entry: Registered | None = None

    def is_forgotten(self, error: EngineRejected) -> bool:
        """Does the engine refuse because it does not know the adapter that it was given?"""
        return bool(self.entry) and error.engine_status == 404 and self.called in str(error)


class EnginePool:
    """The engines of one base; owns who answers what."""

    def __init__(self, base: ServedBase, units: Sequence[Unit]) -> None:
        self.base = base
        self.units = tuple(units)
        self._held: list[Held] = []

    @property
    def name(self) -> str:
        return self.base.name

    @property
    def ready(self) -> bool:
        """Can anything be answered?"""
        return any(unit.ready for unit in self.units)

    @property
    def failed(self) -> bool:
        """No engine of this base will come back."""
        return all(unit.supervisor.failed for unit in self.units)

    def describe(self) -> dict[str, Any]:
        """How its engines are: the state of the best of them, and how many are ready."""
        states = [unit.supervisor.state for unit in self.units]
        ready = states.count("ready")
        state = "ready" if ready else "failed" if self.failed else states[0]
        return {"state": state, "engines": len(states), "ready": ready}

    def require_ready(self) -> None:
        """Unavailable, with the shortest wait of all engines, unless one is ready."""
        refusals = []
        for unit in self.units:
            try:
                return unit.supervisor.require_ready()
            except Unavailable as error:
                refusals.append(error)
        raise min(refusals, key=lambda error: error.retry_after or math.inf)

    async def hold(self, manifest: AdapterManifest) -> Held:
        """Register an adapter where it is at home; `let_go` must follow.

        An engine that is away only notes it, and loads it before it is ready again. One that is
        full or has just died loads it when it must answer; EngineRejected if any refuses it.
        """
        held = Held(manifest)
        self._held.append(held)
        try:
            await self._settle_in(held)
        except BaseException:
            self.let_go(held)
            raise
        return held

    async def _settle_in(self, held: Held) -> None:
        trouble: list[ServiceError] = []
        for unit in ranked(self.units, held.manifest.digest)[:HOMES]:
            try:
                await self._place(held, unit)
            except (Overloaded, Unavailable) as error:
                trouble.append(error)
        if not held.places:
            raise trouble[0]

    def let_go(self, held: Held) -> None:
        """End a release's use. Not async: it also runs where a cancellation ends every await."""
        self._held.remove(held)
        for unit, entry in held.places.items():
            unit.switch.release(entry)
        held.places.clear()

    async def lease(
        self, held: Held | None, affinity: str | None = None, tried: Collection[Unit] = ()
    ) -> Lease:
        """A place at the engine that suits best, of those not tried yet; `finish` must follow.

        `affinity`: what keeps requests without an adapter together, if anything. Unavailable if no
        engine is ready, Overloaded if none has room for the adapter.
        """
        affinity = held.manifest.digest if held else affinity
        left = {unit for unit in tried if self._others(tried)}
        while True:
            unit = self.pick(affinity, left)
            try:
                return await self._enter(unit, held)
            except (EngineRejected, Overloaded, Unavailable):
                left.add(unit)
                if not self._others(left):
                    raise

    def forget(self, lease: Lease) -> None:
        """`finish`, of a lease whose engine has lost the adapter."""
        if lease.entry:
            lease.unit.switch.forget(lease.entry, lease.called)
        self.finish(lease)

    def finish(self, lease: Lease) -> None:
        """Give a place back, whatever came of it. Not async, as `let_go`."""
        if lease.entry:
            lease.unit.switch.let_go(lease.entry)
        lease.unit.count(-1)

    def pick(self, affinity: str | None, tried: Collection[Unit] = ()) -> Unit:
        """The first of `affinity`'s order that is under its share, else the least loaded."""
        order = ranked(self.units, affinity) if affinity else self.units
        ready = [unit for unit in order if unit.ready and unit not in tried]
        if not ready:
            self.require_ready()
            raise Unavailable("No other engine can answer this", "Try again", retry_after=1)
        busy = sum(unit.in_flight for unit in ready) + 1
        share = max(EASY, math.ceil(SLACK * busy / len(ready)))
        easy = [unit for unit in ready[:HOMES] if unit.in_flight < share] if affinity else []
        return easy[0] if easy else min(ready, key=lambda unit: unit.in_flight)

    async def ask(self, payload: dict[str, Any]) -> dict[str, Any]:
        """One whole answer of the bare base, for the service's own use."""
        lease = await self.lease(None)
        try:
            return await lease.unit.engine.chat({**payload, "model": lease.called})
        finally:
            self.finish(lease)

    async def settle(self) -> None:
        """Wait for the unloads under way."""
        for unit in self.units:
            await unit.switch.settle()

    def _others(self, tried: Collection[Unit]) -> bool:
        return any(unit.ready and unit not in tried for unit in self.units)

    async def _enter(self, unit: Unit, held: Held | None) -> Lease:
        lease = Lease(unit, unit.engine.base_name)
        unit.count(1)
        try:
            if held is not None:
                if unit not in held.places:
                    await self._place(held, unit)
                entry = held.places[unit]
                await unit.switch.hold(entry)
                lease.entry = entry
                lease.called = entry.engine_name()
        except BaseException:
            self.finish(lease)
            raise
        return lease

    async def _place(self, held: Held, unit: Unit) -> None:
        """Register it on one more engine, which keeps it while the release is open."""
        entry = await unit.switch.acquire(held.manifest)
        if held in self._held and unit not in held.places:
            held.places[unit] = entry
        else:  # let go meanwhile, or another request was faster
            unit.switch.release(entry)


def ranked(units: Sequence[Unit], affinity: str) -> list[Unit]:
    """Rendezvous hashing: an engine's coming or going moves only what it gets or had."""

    def weight(unit: Unit) -> bytes:
        return hashlib.blake2b(f"{affinity}\0{unit.name}".encode(), digest_size=8).digest()

    return sorted(units, key=weight, reverse=True)
