"""The engines of every base together: started, watched and stopped as one."""

import asyncio
from collections.abc import Iterator, Mapping

from service.engines.pool import EnginePool, Unit
from service.errors import ServiceError, Unavailable


class Engines:
    """The pools of every base, by name; each base stands on its own."""

    def __init__(self, pools: Mapping[str, EnginePool]) -> None:
        self._pools = dict(pools)

    def __getitem__(self, name: str) -> EnginePool:
        return self._pools[name]

    def __contains__(self, name: str) -> bool:
        return name in self._pools

    def __iter__(self) -> Iterator[EnginePool]:
        return iter(self._pools.values())

    @property
    def units(self) -> list[Unit]:
        return [unit for pool in self for unit in pool.units]

    @property
    def failed(self) -> bool:
        """Nothing that is served will ever answer again."""
        return all(pool.failed for pool in self)

    def answering(self, digest: str | None, name: str) -> EnginePool:
        """Who answers a release that was made for the base `digest`, of a domain that names `name`.

        Any base that is served has it, so a release from before a change of base still answers.
        """
        own = self._pools[name]
        fitting = [pool for pool in self if pool.base.digest == digest]
        return own if own in fitting or not fitting else fitting[0]

    def require_ready(self) -> None:
        """Unavailable until every base answers that ever will; others' models are not waited for.

        A base whose engines crashed too often does not keep the others from answering.
        """
        ours = [pool for pool in self if not pool.base.entry.external] or list(self)
        waited_for = [pool for pool in ours if not pool.failed] or ours
        for pool in waited_for:
            pool.require_ready()

    @property
    def ready(self) -> bool:
        """As `require_ready` has it."""
        try:
            self.require_ready()
        except Unavailable:
            return False
        return True

    def last_words(self) -> str:
        """Of every engine that was given up."""
        given_up = [unit for unit in self.units if unit.supervisor.failed]
        return "\n".join(f"{unit.name}: {unit.supervisor.last_words()}" for unit in given_up)

    def shut(self, error: ServiceError) -> None:
        """End every answer under way, and any that comes later, with `error`."""
        for unit in self.units:
            unit.engine.shut(error)

    async def changed(self) -> None:
        """Wait until an engine comes or goes."""
        waits = [asyncio.ensure_future(unit.supervisor.changed.wait()) for unit in self.units]
        try:
            await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for wait in waits:
                wait.cancel()

    async def run(self) -> None:
        """Keep all of them alive until cancelled."""
        await asyncio.gather(*(unit.supervisor.run() for unit in self.units))

    async def settle(self) -> None:
        """Wait for the unloads under way."""
        for pool in self:
            await pool.settle()

    async def close(self) -> None:
        for unit in self.units:
            await unit.engine.close()
