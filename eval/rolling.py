"""Engines that die and come back in turn under load, while adapters change: who noticed what.

Whoever had no byte of his answer yet must be answered by another engine, as if nothing had been.
Whoever had some must be told by an error event: text that came cannot be taken back.
"""

import asyncio
import time
from collections import Counter
from collections.abc import Callable, Coroutine, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, Final

from eval.client import Client, ServiceRefused, StreamBroken, StreamCut
from eval.report import Grid
from eval.stats import Spread
from indexer.errors import DslmError

WHOLE: Final = "whole"
TOLD: Final = "ended by an error event after its first byte"
LOST: Final = "failed before its first byte"
CUT: Final = "cut off without a word"
MIXED: Final = "named an adapter that was never its domain's"
BROKEN: Final = (LOST, CUT, MIXED)
BASE: Final = "base"
LOOK_SECONDS: Final = 0.05
BUSY: Final = frozenset({429})
FAULTS: Final = frozenset(range(500, 600))


class StayedAway(DslmError):
    """An engine that was ended was not missed, or did not come back."""


@dataclass(frozen=True, slots=True)
class RollingSettings:
    """`versions`: of each domain those that it changes between; none: it stays what it is.

    `calm`: seconds before an engine is ended; `patience`: for how long it may stay away.
    """

    versions: Mapping[str, Sequence[str]]
    clients: int = 64
    tokens: int = 64
    calm: float = 5.0
    patience: float = 300.0
    swap_seconds: float = 1.0
    question: str = "How do I clean the machine?"


@dataclass(slots=True)
class Rolled:
    """What was seen; in seconds: `first` bytes, `swaps`, and `away` from its end to its return."""

    outcomes: Counter[str] = field(default_factory=Counter)
    reasons: Counter[str] = field(default_factory=Counter)
    first: list[float] = field(default_factory=list)
    swaps: list[float] = field(default_factory=list)
    away: list[float] = field(default_factory=list)

    @property
    def broken(self) -> int:
        """Answers that no client may see."""
        return sum(self.outcomes[kind] for kind in BROKEN)


class Rolling:
    """One run. `ends`: ends one engine each, now; somebody else starts it again."""

    def __init__(
        self,
        client: Client,
        settings: RollingSettings,
        engines: int,
        ends: Sequence[Callable[[], None]],
        report: Callable[[str], None] = lambda _: None,
    ) -> None:
        self._client = client
        self._settings = settings
        self._engines = engines
        self._ends = ends
        self._report = report
        self._over = asyncio.Event()
        self._changing = [(name, own) for name, own in settings.versions.items() if own]
        self.seen = Rolled()

    async def run(self) -> Rolled:
        """Returns when every engine was ended and came back, and the last stream is read."""
        for name, versions in self._changing:
            await self._client.set_adapter(name, versions[0])
        try:
            async with asyncio.TaskGroup() as group:
                for work in (*self._clients(), self._swap_on()):
                    group.create_task(work)
                await self._roll_all()
        except ExceptionGroup as trouble:
            raise trouble.exceptions[0] from None
        return self.seen

    def _clients(self) -> Iterator[Coroutine[Any, Any, None]]:
        domains = list(self._settings.versions)
        for number in range(self._settings.clients):
            yield self._ask_on(domains[number % len(domains)], number)

    async def _roll_all(self) -> None:
        for number, end in enumerate(self._ends, start=1):
            await self._roll(number, end)
        await asyncio.sleep(self._settings.calm)
        self._over.set()

    async def _roll(self, number: int, end: Callable[[], None]) -> None:
        await asyncio.sleep(self._settings.calm)
        began = time.monotonic()
        end()
        for fewer in (True, False):
            await self._until(began, fewer=fewer)
        self.seen.away.append(time.monotonic() - began)
        told = f"engine {number} ended, and back after {self.seen.away[-1]:.1f} s"
        self._report(f"{told}; {self.seen.outcomes.total()} streams so far")

    async def _until(self, began: float, *, fewer: bool) -> None:
        while (await self._client.engines_ready(BASE) < self._engines) != fewer:
            if time.monotonic() - began > self._settings.patience:
                raise StayedAway("It was not missed" if fewer else "An engine did not come back")
            await asyncio.sleep(LOOK_SECONDS)

    async def _swap_on(self) -> None:
        """Each domain in turn to the next of its versions."""
        turn = 1
        while self._changing and not self._over.is_set():
            for name, versions in self._changing:
                began = time.monotonic()
                await self._client.set_adapter(name, versions[turn % len(versions)])
                self.seen.swaps.append(time.monotonic() - began)
                await self._pause(self._settings.swap_seconds)
            turn += 1

    async def _pause(self, seconds: float) -> None:
        with suppress(TimeoutError):
            await asyncio.wait_for(self._over.wait(), seconds)

    async def _ask_on(self, domain: str, number: int) -> None:
        turn = 0
        while not self._over.is_set():
            kind = await self._ask(domain, f"{turn}.{number}: {self._settings.question}")
            self.seen.outcomes[kind] += 1
            turn += 1

    async def _ask(self, domain: str, question: str) -> str:
        """What became of one stream."""
        began, first, named = time.monotonic(), 0.0, None
        messages = [{"role": "user", "content": question}]
        try:
            async with self._client.stream(domain, messages, self._options()) as pieces:
                async for piece in pieces:
                    if not first:
                        first = time.monotonic() - began
                        self.seen.first.append(first)
                    named = piece.dslm.get("adapter", named)
        except DslmError as error:
            if isinstance(error, ServiceRefused) and error.status not in BUSY | FAULTS:
                raise  # it is ours, and would be so again
            self.seen.reasons[f"{type(error).__name__}: {error}"[:160]] += 1
            return _kind(error) if first else LOST
        known = self._settings.versions[domain]
        return WHOLE if not known or named in known else MIXED

    def _options(self) -> dict[str, Any]:
        bare = {"mode": "generate", "passages": False, "demonstrations": False}
        most = self._settings.tokens
        return {"temperature": 0, "max_tokens": most, "ignore_eos": True, "dslm": bare}


def _kind(error: DslmError) -> str:
    told = isinstance(error, StreamBroken) and not isinstance(error, StreamCut)
    return TOLD if told else CUT


def grids(seen: Rolled) -> list[Grid]:
    """What became of the streams; and how long things took."""
    total = seen.outcomes.total()
    kinds = (WHOLE, TOLD, *BROKEN)
    rows = tuple(
        (kind, str(seen.outcomes[kind]), f"{seen.outcomes[kind] / total:.2%}") for kind in kinds
    )
    times = (
        ("until the first byte", seen.first),
        ("a swap", seen.swaps),
        ("an engine away", seen.away),
    )
    spans = tuple(
        (what, str(len(took)), Spread.of(took).show(2), f"{_p99(took):.2f}")
        for what, took in times
        if took
    )
    return [
        Grid(f"{total} streams", ("what became of it", "streams", "share"), rows),
        Grid("Seconds", ("what", "times", "median (least to greatest)", "p99"), spans),
    ]


def _p99(values: Sequence[float]) -> float:
    return sorted(values)[int(0.99 * (len(values) - 1))]
