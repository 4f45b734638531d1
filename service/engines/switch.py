"""Which adapters the engine holds. The only place that loads and unloads them.

vLLM dies, or answers wrongly in silence, when a name is used again while an old request runs or
when files that it may hold are touched. So every load takes a name that this engine has never
heard, the folders are content-addressed and never written again, an adapter is unloaded only
after its last user has gone, and no more are registered than the engine keeps in memory.
"""

import asyncio
import logging
from collections import Counter
from dataclasses import dataclass

from adapters.manifest import AdapterManifest
from adapters.registry import AdapterRegistry
from service.engines.engine import Engine
from service.errors import EngineRejected, Overloaded, ServiceError, Unavailable
from service.telemetry import Telemetry

log = logging.getLogger("dslm.switch")


@dataclass(slots=True, eq=False)
class Registered:
    """An adapter in the engine: its name there, and how many releases and answers use it."""

    manifest: AdapterManifest
    name: str
    users: int = 0
    refusal: str | None = None

    def engine_name(self) -> str:
        """Its name now (another after the engine's restart). Unavailable if it was refused."""
        if self.refusal:
            raise Unavailable(
                f"The engine refused the adapter {self.manifest.label}: {self.refusal}",
                "Set another adapter, or roll back",
            )
        return self.name


class AdapterSwitch:
    """Registers an adapter for its first user and unloads it after its last."""

    def __init__(
        self, engine: Engine, registry: AdapterRegistry, capacity: int, telemetry: Telemetry
    ) -> None:
        self._engine = engine
        self._registry = registry
        self._capacity = capacity
        self._telemetry = telemetry
        self._registered: dict[str, Registered] = {}
        self._loads: Counter[str] = Counter()
        self._changing = asyncio.Lock()
        self._unloads: set[asyncio.Task[None]] = set()
        self._online = False

    def users(self) -> dict[str, int]:
        """Users of each registered adapter, by engine name."""
        return {entry.name: entry.users for entry in self._registered.values()}

    async def acquire(self, manifest: AdapterManifest) -> Registered:
        """Use an adapter, loading it if need be; `release` must follow.

        While the engine is away it is only noted: `reconcile` loads it before anything is asked.
        """
        entry = self._registered.get(manifest.digest)
        if entry is None:
            async with self._changing:
                entry = self._registered.get(manifest.digest) or await self._load(manifest)
                entry.users += 1
                return entry
        entry.users += 1
        return entry

    def release(self, entry: Registered) -> None:
        """End one use. Not async: it also runs where a client's going away cancels every await."""
        entry.users -= 1
        if entry.users == 0:
            task = asyncio.get_running_loop().create_task(self._unload(entry))
            self._unloads.add(task)
            task.add_done_callback(self._unloads.discard)

    async def reconcile(self) -> None:
        """Load what is in use into an engine that has just come up."""
        async with self._changing:
            known = await self._engine.registered()
            for entry in list(self._registered.values()):
                if entry.name not in known:
                    await self._restore(entry)
            self._online = True

    async def settle(self) -> None:
        """Wait for the unloads under way."""
        await asyncio.gather(*self._unloads, return_exceptions=True)

    def engine_ended(self) -> None:
        """Nothing is registered any more; users keep their entries for the next engine."""
        self._online = False

    async def _restore(self, entry: Registered) -> None:
        """One that the engine refuses must not keep the others from answering."""
        entry.name = self._next_name(entry.manifest)
        folder = self._registry.folder(entry.manifest).resolve()
        try:
            await self._engine.load_adapter(entry.name, folder)
            entry.refusal = None
        except EngineRejected as error:
            log.error("the engine refused %s: %s", entry.name, error)
            entry.refusal = str(error)

    async def _load(self, manifest: AdapterManifest) -> Registered:
        if len(self._registered) >= self._capacity:
            raise Overloaded(
                f"All {self._capacity} adapter places of the engine are in use",
                "Try again, or raise DSLM_MAX_CPU_LORAS",
                retry_after=5,
            )
        name = self._next_name(manifest)
        if self._online:
            await self._engine.load_adapter(name, self._registry.folder(manifest).resolve())
        entry = self._registered[manifest.digest] = Registered(manifest, name)
        self._telemetry.adapters.set(len(self._registered))
        return entry

    async def _unload(self, entry: Registered) -> None:
        async with self._changing:
            digest = entry.manifest.digest
            if entry.users or self._registered.get(digest) is not entry:
                return
            del self._registered[digest]
            self._telemetry.adapters.set(len(self._registered))
            try:
                if self._online and not entry.refusal:
                    await self._engine.unload_adapter(entry.name)
            except ServiceError as error:
                log.warning("could not unload %s: %s", entry.name, error)

    def _next_name(self, manifest: AdapterManifest) -> str:
        """Loaded again in one engine's life, an adapter takes another name: none is used twice."""
        name = self._registry.engine_name(manifest)
        self._loads[name] += 1
        count = self._loads[name]
        return name if count == 1 else f"{name}.{count}"
