"""Admission before a scripted engine, in time of its own: who waits how long for whom."""

import asyncio
import dataclasses
import heapq
import time
from collections.abc import Callable
from typing import Any

from service.api.limits import Admission, Wish
from service.api.places import Limits
from service.errors import Overloaded
from service.telemetry import Telemetry

ROOMY = Limits(answers=8, per_domain=8, queued=1000, seconds=60, adapters=8)


def admission(clock: Callable[[], float] = time.monotonic, **changes: Any) -> Admission:
    return Admission(dataclasses.replace(ROOMY, **changes), Telemetry(), clock)


async def settle() -> None:
    """Let everything that can go on go on."""
    for _ in range(5):
        await asyncio.sleep(0)


class Simulation:
    """An engine whose answers take a second each unless told otherwise, with so many places.

    Its clock jumps from event to event, so that nothing here depends on the machine's speed.
    """

    def __init__(self, **changes: Any) -> None:
        self.now = 0.0
        self.events: list[tuple[float, int, Callable[[], None]]] = []
        self.desk = admission(lambda: self.now, **changes)
        self.took: dict[str, list[float]] = {}
        self._count = 0
        self._tasks: set[asyncio.Task[None]] = set()

    def at(self, when: float, event: Callable[[], None]) -> None:
        self._count += 1
        heapq.heappush(self.events, (when, self._count, event))

    def ask(
        self,
        domain: str,
        adapter: str | None = None,
        again: bool = False,
        key: str = "",
        lasts: float = 1.0,
    ) -> None:
        task = asyncio.create_task(self._ask(Wish(domain, key, adapter, 0), again, lasts))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _ask(self, wish: Wish, again: bool, lasts: float) -> None:
        asked = self.now
        try:
            leave = await self.desk.permit(wish.domain, wish.key, wish.adapter)
        except Overloaded:
            return

        def end() -> None:
            name = wish.domain + wish.key
            self.took.setdefault(name, []).append(self.now - asked)
            leave()
            if again:
                self.ask(wish.domain, wish.adapter, again, wish.key, lasts)

        self.at(self.now + lasts, end)

    async def run(self, until: float) -> None:
        await settle()
        while self.events and self.events[0][0] <= until:
            self.now, _, event = heapq.heappop(self.events)
            event()
            await settle()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)


def p99(values: list[float]) -> float:
    return sorted(values)[int(len(values) * 0.99)]
