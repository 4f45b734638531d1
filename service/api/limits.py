"""Who may start an answer now: bounded, fair among domains and keys, and given back for certain.

A domain in overload waits in a queue of its own. Whenever a place comes free it goes to the domain
with the fewest answers in flight for its share, within it to the key with the fewest, and there to
the one who has waited longest. No more adapters are active at once than the engine batches: beyond
that it would reload weights within its steps, and starve whom it likes.
"""

import asyncio
import time
from collections import Counter, deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

from service.api.places import Limits
from service.errors import Overloaded, ServiceError
from service.telemetry import Telemetry

Leave = Callable[[], None]
Name = TypeVar("Name", str, tuple[str, str])
TURN_SECONDS = 1.0
SMOOTHING = 0.1


@dataclass(frozen=True, slots=True)
class Wish:
    """What somebody wants to start: for whom, with which adapter, of how many tokens at most."""

    domain: str
    key: str
    adapter: str | None
    tokens: int


@dataclass(slots=True, eq=False)
class Waiter:
    """One who wants to start."""

    wish: Wish
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
        self._tokens: Counter[str] = Counter()
        self._closed: str | None = None
        self._queues: dict[str, deque[Waiter]] = {}
        self._usual = 1.0
        self._shut: ServiceError | None = None

    @property
    def in_flight(self) -> int:
        return self._domains.total()

    @property
    def waiting(self) -> int:
        return sum(map(len, self._queues.values()))

    def close(self, error: ServiceError) -> None:
        """Nobody is let in any more: who waits, and who comes, gets `error`."""
        self._shut = error
        for queue in self._queues.values():
            for waiter in queue:
                if not waiter.place.done():
                    waiter.place.set_exception(error)
        self._queues.clear()
        self._telemetry.queued.set(0)

    def at_once(self, domain: str, key: str, adapter: str | None, tokens: int = 0) -> Leave | None:
        """A place if there is one now: the caller must call what is returned, once, at the end."""
        if self._shut:
            raise self._shut
        wish = Wish(domain, key, adapter, tokens)
        if self._queues.get(domain) or self._room_is_kept() or not self._is_free(wish):
            return None
        self._count(wish, 1)
        return self._leave(wish)

    async def permit(self, domain: str, key: str, adapter: str | None, tokens: int = 0) -> Leave:
        """A place, as soon as it is this one's turn. Overloaded if the queue is full or stands."""
        leave = self.at_once(domain, key, adapter, tokens)
        if leave is not None:
            return leave
        waiter = self._line_up(Wish(domain, key, adapter, tokens))
        try:
            async with asyncio.timeout(self._limits.seconds):
                await waiter.place
        except BaseException as error:
            self._give_up(waiter)
            if isinstance(error, TimeoutError):
                message = f"No place came free within {self._limits.seconds:g} s"
                remedy = "Try again shortly"
                raise Overloaded(message, remedy, retry_after=self._usual) from error
            raise
        return self._leave(waiter.wish)

    def _line_up(self, wish: Wish) -> Waiter:
        queue = self._queues.setdefault(wish.domain, deque())
        if len(queue) >= self._limits.queued:
            message = f"{len(queue)} requests wait for the domain '{wish.domain}' already"
            raise Overloaded(message, "Try again shortly", retry_after=self._usual)
        waiter = Waiter(wish, self._clock(), asyncio.get_running_loop().create_future())
        queue.append(waiter)
        self._telemetry.queued.set(self.waiting)
        return waiter

    def _give_up(self, waiter: Waiter) -> None:
        """Leave the line, or give back the place that came at the very moment of giving up."""
        place = waiter.place
        if place.done() and not place.cancelled() and place.exception() is None:
            self._leave(waiter.wish)()
            return
        queue = self._queues.get(waiter.wish.domain)
        if queue and waiter in queue:
            queue.remove(waiter)
        self._admit()

    def _leave(self, wish: Wish) -> Leave:
        began = self._clock()

        def leave() -> None:
            self._usual += SMOOTHING * (self._clock() - began - self._usual)
            self._count(wish, -1)
            self._admit()

        return leave

    def _count(self, wish: Wish, change: int) -> None:
        _add(self._domains, wish.domain, change)
        _add(self._keys, (wish.domain, wish.key), change)
        _add(self._tokens, wish.domain, change * wish.tokens)
        if wish.adapter is not None:
            _add(self._adapters, wish.adapter, change)
        if self._closed not in self._adapters:
            self._closed = None
        self._telemetry.in_flight.set(self.in_flight)

    def _is_free(self, wish: Wish) -> bool:
        limits = self._limits
        if self.in_flight >= limits.answers or self._domains[wish.domain] >= limits.per_domain:
            return False
        if not self._may_have(wish):
            return False
        if wish.adapter is None:
            return True
        if wish.adapter in self._adapters:
            return wish.adapter != self._closed
        return len(self._adapters) < limits.adapters

    def _may_have(self, wish: Wish) -> bool:
        """Within the bounds of tokens; one that is beyond them alone has them for itself."""
        bound, own = self._limits.tokens, self._tokens[wish.domain]
        if not bound:
            return True
        return self._fits(wish) and (not own or own + wish.tokens <= bound * 3 // 4)

    def _fits(self, wish: Wish) -> bool:
        total = self._tokens.total()
        return not total or total + wish.tokens <= self._limits.tokens

    def _admit(self) -> None:
        """Let in whom there is a place for."""
        while waiter := self._next():
            domain = waiter.wish.domain
            queue = self._queues[domain]
            queue.remove(waiter)
            if not queue:
                del self._queues[domain]
            if not waiter.place.done():
                self._count(waiter.wish, 1)
                waiter.place.set_result(None)
        self._take_turns()
        self._telemetry.queued.set(self.waiting)

    def _next(self) -> Waiter | None:
        if self._room_is_kept():
            return None
        heads = [self._head(queue) for queue in self._queues.values() if queue]
        free = [one for one in heads if self._is_free(one.wish)]
        return min(free, key=lambda one: (self._load(one.wish.domain), one.since), default=None)

    def _room_is_kept(self) -> bool:
        """One who needs much and has waited long would starve among many who need little."""
        if not self._limits.tokens or not self._queues:
            return False
        heads = [self._head(queue) for queue in self._queues.values() if queue]
        long_ago = self._clock() - TURN_SECONDS
        return any(one.since < long_ago and not self._fits(one.wish) for one in heads)

    def _head(self, queue: deque[Waiter]) -> Waiter:
        """Who of a domain is next."""
        return min(queue, key=lambda one: (self._keys[one.wish.domain, one.wish.key], one.since))

    def _load(self, domain: str) -> float:
        return self._domains[domain] / self._limits.shares.get(domain, 1.0)

    def _take_turns(self) -> None:
        """Someone has waited long for an adapter's place: let the oldest active adapter run dry."""
        if self._closed or len(self._adapters) < self._limits.adapters:
            return
        now = self._clock()
        for queue in self._queues.values():
            first = queue[0] if queue else None
            if first and first.wish.adapter and first.wish.adapter not in self._adapters:
                if now - first.since > TURN_SECONDS:
                    self._closed = next(iter(self._adapters))
                    return


def _add(counter: Counter[Name], name: Name, change: int) -> None:
    """Names without a count are forgotten: there may be any number of keys."""
    counter[name] += change
    if not counter[name]:
        del counter[name]
