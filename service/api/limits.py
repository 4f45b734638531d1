"""Who may start an answer now: bounded, fair among domains and keys, and given back for certain.

A domain in overload waits in a queue of its own. Whenever a place comes free it goes to the domain
with the fewest answers in flight for its share, within it to the key with the fewest, and there to
the one who has waited longest. No more adapters are active at once than the engine batches: beyond
that it would reload weights within its steps, and starve whom it likes.
"""

import asyncio
import math
import time
from collections import Counter, deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TypeVar

from indexer.errors import BadInput
from service.errors import Overloaded
from service.settings import ServiceSettings
from service.telemetry import Telemetry

Leave = Callable[[], None]
Name = TypeVar("Name", str, tuple[str, str])
TURN_SECONDS = 1.0
SMOOTHING = 0.1


@dataclass(frozen=True, slots=True)
class Limits:
    """`answers` in flight altogether and `per_domain`; `queued` per domain for `seconds` at most.

    `adapters`: how many may be active at once. `shares`: a domain's weight, 1 where not named.
    """

    answers: int
    per_domain: int
    queued: int
    seconds: float
    adapters: int
    shares: Mapping[str, float] = field(default_factory=dict)


def limits_of(settings: ServiceSettings) -> Limits:
    """As the settings say. BadInput names what is no weight."""
    answers = settings.max_concurrent
    shares = {}
    for one in settings.shares.split():
        name, _, weight = one.partition("=")
        try:
            shares[name] = float(weight)
        except ValueError as error:
            raise BadInput(f"DSLM_SHARES: {one!r} is no weight", "Write name=3") from error
        if not 0 < shares[name] < math.inf:
            raise BadInput(f"DSLM_SHARES: {one!r} is no positive weight", "Write name=3")
    return Limits(
        answers=answers,
        per_domain=settings.max_concurrent_domain or max(1, answers * 3 // 4),
        queued=settings.max_queued,
        seconds=settings.queue_seconds,
        adapters=settings.max_loras,
        shares=shares,
    )


@dataclass(slots=True, eq=False)
class Waiter:
    """One who wants to start."""

    domain: str
    key: str
    adapter: str | None
    since: float
    place: asyncio.Future[None]


class Admission:
    """Counts answers in flight and lines up those that must wait."""

    def __init__(
        self, limits: Limits, telemetry: Telemetry, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._limits = limits
        self._telemetry = telemetry
        self._clock = clock
        self._domains: Counter[str] = Counter()
        self._keys: Counter[tuple[str, str]] = Counter()
        self._adapters: Counter[str] = Counter()
        self._closed: str | None = None
        self._queues: dict[str, deque[Waiter]] = {}
        self._usual = 1.0

    @property
    def in_flight(self) -> int:
        return self._domains.total()

    @property
    def waiting(self) -> int:
        return sum(map(len, self._queues.values()))

    def at_once(self, domain: str, key: str, adapter: str | None) -> Leave | None:
        """A place if there is one now: the caller must call what is returned, once, at the end."""
        if self._queues.get(domain) or not self._is_free(domain, adapter):
            return None
        return self._start(domain, key, adapter)

    async def permit(self, domain: str, key: str, adapter: str | None) -> Leave:
        """A place, as soon as it is this one's turn. Overloaded if the queue is full or stands."""
        leave = self.at_once(domain, key, adapter)
        if leave is not None:
            return leave
        queue = self._queues.setdefault(domain, deque())
        if len(queue) >= self._limits.queued:
            message = f"{len(queue)} requests wait for the domain '{domain}' already"
            raise Overloaded(message, "Try again shortly", retry_after=self._usual)
        place: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        waiter = Waiter(domain, key, adapter, self._clock(), place)
        queue.append(waiter)
        self._telemetry.queued.set(self.waiting)
        try:
            async with asyncio.timeout(self._limits.seconds):
                await place
        except BaseException as error:
            self._give_up(waiter)
            if isinstance(error, TimeoutError):
                message = f"No place came free within {self._limits.seconds:g} s"
                remedy = "Try again shortly"
                raise Overloaded(message, remedy, retry_after=self._usual) from error
            raise
        return self._leave(domain, key, adapter)

    def _give_up(self, waiter: Waiter) -> None:
        """Leave the line, or give back the place that came at the very moment of giving up."""
        if waiter.place.done() and not waiter.place.cancelled():
            self._leave(waiter.domain, waiter.key, waiter.adapter)()
            return
        queue = self._queues.get(waiter.domain)
        if queue and waiter in queue:
            queue.remove(waiter)
        self._admit()

    def _start(self, domain: str, key: str, adapter: str | None) -> Leave:
        self._count(domain, key, adapter, 1)
        return self._leave(domain, key, adapter)

    def _leave(self, domain: str, key: str, adapter: str | None) -> Leave:
        began = self._clock()

        def leave() -> None:
            self._usual += SMOOTHING * (self._clock() - began - self._usual)
            self._count(domain, key, adapter, -1)
            self._admit()

        return leave

    def _count(self, domain: str, key: str, adapter: str | None, change: int) -> None:
        _add(self._domains, domain, change)
        _add(self._keys, (domain, key), change)
        if adapter is not None:
            _add(self._adapters, adapter, change)
        if self._closed not in self._adapters:
            self._closed = None
        self._telemetry.in_flight.set(self.in_flight)

    def _is_free(self, domain: str, adapter: str | None) -> bool:
        limits = self._limits
        if self.in_flight >= limits.answers or self._domains[domain] >= limits.per_domain:
            return False
        if adapter is None:
            return True
        if adapter in self._adapters:
            return adapter != self._closed
        return len(self._adapters) < limits.adapters

    def _admit(self) -> None:
        """Let in whom there is a place for."""
        while waiter := self._next():
            queue = self._queues[waiter.domain]
            queue.remove(waiter)
            if not queue:
                del self._queues[waiter.domain]
            if not waiter.place.done():
                self._count(waiter.domain, waiter.key, waiter.adapter, 1)
                waiter.place.set_result(None)
        self._take_turns()
        self._telemetry.queued.set(self.waiting)

    def _next(self) -> Waiter | None:
        heads = [self._head(queue) for queue in self._queues.values() if queue]
        free = [one for one in heads if self._is_free(one.domain, one.adapter)]
        return min(free, key=lambda one: (self._load(one.domain), one.since), default=None)

    def _head(self, queue: deque[Waiter]) -> Waiter:
        """Who of a domain is next."""
        return min(queue, key=lambda one: (self._keys[one.domain, one.key], one.since))

    def _load(self, domain: str) -> float:
        return self._domains[domain] / self._limits.shares.get(domain, 1.0)

    def _take_turns(self) -> None:
        """Someone has waited long for an adapter's place: let the oldest active adapter run dry."""
        if self._closed or len(self._adapters) < self._limits.adapters:
            return
        now = self._clock()
        for queue in self._queues.values():
            first = queue[0] if queue else None
            if first and first.adapter and first.adapter not in self._adapters:
                if now - first.since > TURN_SECONDS:
                    self._closed = next(iter(self._adapters))
                    return


def _add(counter: Counter[Name], name: Name, change: int) -> None:
    """Names without a count are forgotten: there may be any number of keys."""
    counter[name] += change
    if not counter[name]:
        del counter[name]
