"""Which adapters the engine holds. The only place that loads and unloads them.

vLLM dies, or answers wrongly in silence, when a name is used again while an old request runs or
when files that it may hold are touched. So every load takes a name that no engine has ever heard,
the folders are content-addressed, verified and never written again, an adapter leaves the engine
only while it writes no answer, and no more are registered than the engine keeps in memory.
"""

import asyncio
import logging
from dataclasses import dataclass
from itertools import count

from adapters.manifest import AdapterManifest
from adapters.registry import AdapterRegistry
from service.engines.engine import Engine
from service.engines.folders import DamagedAdapter, VerifiedFolder, verified
from service.engines.probe import Probe
from service.errors import EngineRejected, Overloaded, ServiceError, Unavailable
from service.presence import Presence, has_ended
from service.telemetry import EngineMeters

log = logging.getLogger("dslm.switch")


@dataclass(slots=True, eq=False)
class Registered:
    """An adapter in use: its name in the engine, empty while that does not hold it.

    `users` are releases that rest on it, `answers` those that may be asked of it just now.
    """

    manifest: AdapterManifest
    name: str = ""
    users: int = 0
    answers: int = 0
    folder: VerifiedFolder | None = None
    refusal: str | None = None
    trouble: str = "it is being loaded"

    def engine_name(self) -> str:
        """Its name now, another after each load. Unavailable if it was refused or is damaged."""
        if self.refusal:
            raise Unavailable(
                f"The adapter {self.manifest.label} is refused: {self.refusal}",
                "Set another adapter, or roll back",
            )
        if not self.name or not self.folder:
            message = f"The engine does not hold the adapter {self.manifest.label}: {self.trouble}"
            raise Unavailable(message, retry_after=1)
        self.folder.check_unchanged()
        return self.name


class AdapterSwitch:
    """Registers an adapter for its first user and unloads it after its last.

    Of more adapters than places, those that write no answer give up theirs, the one that has been
    idle longest first, and take one again for their next answer. `probe`, if there is one, must let
    an adapter pass before it is told of.
    """

    def __init__(
        self,
        engine: Engine,
        registry: AdapterRegistry,
        capacity: int,
        meters: EngineMeters,
        probe: Probe | None = None,
    ) -> None:
        self._engine = engine
        self._registry = registry
        self._capacity = capacity
        self._meters = meters
        self._probe = probe
        self._registered: dict[str, Registered] = {}  # the longest idle first
        self._numbers = count(1)
        self._presence = Presence()
        self._changing = asyncio.Lock()
        self._unloads: set[asyncio.Task[None]] = set()
        self._online = False

    def users(self) -> dict[str, int]:
        """Users of each adapter that the engine holds, by its name there."""
        return {entry.name: entry.users for entry in self._registered.values() if entry.name}

    async def acquire(self, manifest: AdapterManifest) -> Registered:
        """Use an adapter, loading it if need be; `release` must follow.

        While the engine is away it is only noted: `reconcile` loads it before anything is asked.
        Raises what keeps it from being served: damaged files, the engine's refusal, no free place.
        """
        entry = self._registered.get(manifest.digest)
        if entry is None or not entry.name or entry.refusal:
            async with self._changing:
                entry = self._registered.get(manifest.digest) or Registered(manifest)
                if self._online and (not entry.name or entry.refusal):
                    await self._load(entry)
                self._registered[manifest.digest] = entry
                self._count()
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

    async def hold(self, entry: Registered) -> None:
        """An answer begins: until `let_go` the adapter keeps its place, or takes one again now.

        Raises nothing: an answer may do without; if not, `engine_name` says what is wrong.
        """
        entry.answers += 1
        digest = entry.manifest.digest
        if self._registered.get(digest) is entry:
            self._registered[digest] = self._registered.pop(digest)
        if self._online and not entry.name and not entry.refusal:
            try:
                async with self._changing:
                    if self._online and not entry.name:
                        await self._load(entry)
            except ServiceError as error:
                log.warning("%s is not in the engine: %s", entry.manifest.label, error)
                entry.trouble = str(error)
            except BaseException:
                entry.answers -= 1
                raise

    def let_go(self, entry: Registered) -> None:
        """End one `hold`."""
        entry.answers -= 1

    def forget(self, entry: Registered, name: str) -> None:
        """The engine no longer knows what it was told under `name`: the next `hold` loads it anew.

        So it is where another engine took over its address in a moment, or somebody else unloads.
        """
        if entry.name == name:
            log.warning("the engine has lost %s", name)
            entry.name = ""
            self._count()

    async def reconcile(self) -> None:
        """Load what is in use into an engine that has just come up, as far as there are places."""
        async with self._changing:
            known = await self._engine.registered()
            for entry in self._registered.values():
                if entry.name not in known:
                    entry.name = ""
            places = self._capacity - len(await self._swept(known))
            for entry in reversed(list(self._registered.values())):
                if not entry.name and places > 0:
                    await self._restore(entry)
                    places -= 1
            self._online = True
            self._count()

    async def settle(self) -> None:
        """The last call: wait for the unloads under way, then cease to be among the living."""
        await asyncio.gather(*self._unloads, return_exceptions=True)
        self._presence.withdraw(is_clean=not self._registered)

    def engine_ended(self) -> None:
        """Nothing is registered any more; users keep their entries for the next engine."""
        self._online = False
        if self._probe:
            self._probe.engine_ended()

    async def _restore(self, entry: Registered) -> None:
        """One that cannot be served must not keep the others from answering."""
        try:
            await self._load_as(entry)
        except (EngineRejected, DamagedAdapter) as error:
            log.error("%s cannot be served: %s", entry.manifest.label, error)
            entry.refusal = str(error)

    async def _load(self, entry: Registered) -> None:
        held = await self._swept(await self._engine.registered())
        idle = [e for e in self._registered.values() if e.name in held and not e.answers]
        for victim in idle[: max(0, len(held) + 1 - self._capacity)]:
            held = held - {victim.name}
            await self._park(victim)
        if len(held) >= self._capacity:
            raise Overloaded(
                f"All {self._capacity} adapter places of the engine are in use",
                "Try again, or raise DSLM_MAX_CPU_LORAS",
                retry_after=5,
            )
        await self._load_as(entry)
        self._count()

    async def _load_as(self, entry: Registered) -> None:
        """Under a name that was never used, from files that are what was once added."""
        folder = self._registry.folder(entry.manifest).resolve()
        self._presence.announce(self._registry.services)
        checked = await asyncio.to_thread(verified, entry.manifest, folder)
        label = self._registry.engine_name(entry.manifest)
        name = f"{label}.{self._presence.token}-{next(self._numbers)}"
        await self._engine.load_adapter(name, folder)
        await self._probed(entry, name)
        entry.name, entry.folder, entry.refusal = name, checked, None

    async def _probed(self, entry: Registered, name: str) -> None:
        """One that does not pass leaves at once; of one that was not judged the next load does."""
        try:
            if self._probe:
                await self._probe.check(name, entry.manifest)
        except EngineRejected as error:
            await self._unload_name(name)
            entry.refusal = str(error)
            raise

    async def _unload(self, entry: Registered) -> None:
        async with self._changing:
            digest = entry.manifest.digest
            if entry.users == 0 and self._registered.get(digest) is entry:
                del self._registered[digest]
                await self._park(entry)
                self._count()

    async def _park(self, entry: Registered) -> None:
        """Give up its place; what is not unloaded now is swept before the next load."""
        name, entry.name = entry.name, ""
        if name and self._online:
            await self._unload_name(name)

    async def _unload_name(self, name: str) -> None:
        try:
            await self._engine.unload_adapter(name)
        except ServiceError as error:
            log.warning("could not unload %s: %s", name, error)

    async def _swept(self, known: frozenset[str]) -> frozenset[str]:
        """What is left of `known` without what nobody uses: ours that got lost, dead services'."""
        mine = {entry.name for entry in self._registered.values()}
        folder = self._registry.services
        lost = set()
        for name in known - mine:
            token = name.rpartition(".")[2].partition("-")[0]
            if token == self._presence.token or await asyncio.to_thread(has_ended, folder, token):
                await self._unload_name(name)
                lost.add(name)
        return known - lost

    def _count(self) -> None:
        self._meters.adapters.set(sum(bool(e.name) for e in self._registered.values()))
