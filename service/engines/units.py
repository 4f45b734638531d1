"""Builds the engines of every base: children of ours, servers elsewhere, models of others."""

import asyncio
import os
import socket
from collections.abc import Collection, Iterator, Mapping

from adapters.registry import AdapterRegistry
from indexer.cores import cores
from indexer.errors import BadInput
from service.engines.bases import ServedBase
from service.engines.command import Child, engine_command, engine_environment
from service.engines.engine import Engine
from service.engines.entries import BASE_NAME, EngineEntry
from service.engines.external import External, bearer
from service.engines.fleet import Engines
from service.engines.planned import MemoryPlan, Place, places
from service.engines.pool import EnginePool, Unit
from service.engines.probe import Probe
from service.engines.process import ElsewhereHost, EngineHost, EngineProcess
from service.engines.supervisor import EngineSupervisor
from service.engines.switch import AdapterSwitch
from service.engines.watch import Patience
from service.settings import ServiceSettings
from service.telemetry import Telemetry


class InTurn:
    """A child that starts when no other does: vLLM measures what is free, and must be alone."""

    def __init__(self, host: EngineProcess, turn: asyncio.Lock) -> None:
        self._host = host
        self._turn = turn
        self._has_turn = False

    @property
    def is_ours(self) -> bool:
        return True

    async def start(self) -> None:
        await self._turn.acquire()
        self._has_turn = True
        try:
            await self._host.start()
        except BaseException:
            self.started()
            raise

    def started(self) -> None:
        """It has what it needs, or will never: let the next one start."""
        if self._has_turn:
            self._has_turn = False
            self._turn.release()

    async def exited(self) -> int:
        return await self._host.exited()

    async def stop(self, grace: float) -> None:
        try:
            await self._host.stop(grace)
        finally:
            self.started()

    def last_words(self) -> str:
        return self._host.last_words()


class EngineBuilder:
    """Builds the pools once, from the settings and the plan of the memory."""

    def __init__(
        self,
        settings: ServiceSettings,
        registry: AdapterRegistry,
        telemetry: Telemetry,
        plan: MemoryPlan,
    ) -> None:
        self._settings = settings
        self._registry = registry
        self._telemetry = telemetry
        self._plan = plan
        self._turn = asyncio.Lock()

    def build(self, bases: Mapping[str, ServedBase]) -> Engines:
        """BadInput for a port that is taken, an option that is ours, or a key that is not set."""
        secrets = {base.entry.key for base in bases.values() if base.entry.key}
        units: dict[str, list[Unit]] = {name: [] for name in bases}
        children = list(places(bases))
        # With more threads than cores the engines wait for each other at every step.
        threads = max(1, cores() // max(1, len(children)))
        for place in children:
            units[place.base.name].append(self._child(place, threads, secrets))
        for base in bases.values():
            units[base.name] += self._elsewhere(base.entry)
        return Engines({name: EnginePool(base, units[name]) for name, base in bases.items()})

    def _child(self, place: Place, threads: int, secrets: Collection[str]) -> Unit:
        settings, entry = self._settings, place.base.entry
        port = settings.engine_port if place.unit == BASE_NAME else 0
        child = Child(
            entry,
            port or free_port(),
            self._plan.share(place.unit, settings),
            self._plan.cache_gib(place.unit),
            place.gpu,
            threads,
        )
        command, environment = engine_command(settings, child), engine_environment(child, secrets)
        name = "engine" if place.unit == BASE_NAME else f"engine-{place.unit.replace(',', '-')}"
        process = EngineProcess(command, environment, settings.store / "logs" / f"{name}.log")
        host = InTurn(process, self._turn)
        engine = Engine(f"http://127.0.0.1:{child.port}", settings.engine_read_seconds)
        return self._unit(place.unit, engine, host)

    def _elsewhere(self, entry: EngineEntry) -> Iterator[Unit]:
        seconds, key = self._settings.engine_read_seconds, secret(entry)
        for url in entry.urls:
            if entry.external:
                field = entry.limit_field
                engine: Engine = External(url, seconds, entry.called, key, field)
            else:
                engine = Engine(url, seconds, entry.called, bearer(key))
            yield self._unit(url.partition("//")[2], engine, ElsewhereHost())

    def _unit(self, name: str, engine: Engine, host: EngineHost) -> Unit:
        settings, meters = self._settings, self._telemetry.of_engine(name)
        probe = Probe(engine, meters, settings.engine_read_seconds)
        switch = AdapterSwitch(
            engine,
            self._registry,
            settings.max_cpu_loras,
            meters,
            probe if settings.probe_adapters else None,
        )

        async def ready() -> None:
            await switch.reconcile()
            if isinstance(host, InTurn):
                host.started()

        supervisor = EngineSupervisor(
            engine,
            host,
            ready,
            switch.engine_ended,
            meters,
            start_seconds=settings.engine_start_seconds,
            crash_limit=settings.engine_crashes,
            patience=Patience(settings.engine_stall_seconds, settings.engine_idle_seconds),
        )
        return Unit(name, engine, supervisor, switch, meters)


def secret(entry: EngineEntry) -> str:
    """The key that an entry's variable holds. BadInput if it is not set; its value is not told."""
    if entry.key is None:
        return ""
    value = os.environ.get(entry.key, "").strip()
    if not value:
        raise BadInput(
            f"The engine '{entry.name}' needs a key, and {entry.key} is not set",
            f"Set {entry.key}, or remove `key`",
        )
    return value


def free_port() -> int:
    """One of the loopback address."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
    return port
