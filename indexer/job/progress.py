"""How far a job is: reports that do not slow it down, and where it can be stopped."""

import time
from collections.abc import Callable
from dataclasses import dataclass, field

from indexer.errors import Cancelled
from indexer.job.results import Progress

_SECONDS_PER_REPORT = 0.2
_OVERLAPPED = "split"  # goes on, unreported, while texts are embedded


@dataclass(slots=True)
class Meter:
    """Hears of every step; reports few of them, and ends the job when `stopped` says so."""

    report: Callable[[Progress], None]
    stopped: Callable[[], bool]
    seconds: dict[str, float] = field(default_factory=dict)
    _phase: str = ""
    _began: float = 0.0
    _from: int = 0
    _last: tuple[int, int] = (0, 0)
    _reported: float = 0.0

    def step(self, phase: str, done: int, total: int) -> None:
        """`total` 0: not known. Cancelled: the job was asked to end."""
        self.check()
        now = time.monotonic()
        begins = phase != self._phase
        if begins:
            self.end()
            self._phase, self._began, self._from = phase, now, done
        self._last = done, total
        if begins or (total and done == total) or now - self._reported > _SECONDS_PER_REPORT:
            self._reported = now
            took = now - self._began
            rate = (done - self._from) / took if took > 0 else 0.0
            left = (total - done) / rate if rate and total else None
            self.report(Progress(phase, done, total, round(rate, 1), left and round(left, 1)))

    def check(self) -> None:
        if self.stopped():
            raise Cancelled(
                "cancelled; what was done is kept", "The same command goes on from there"
            )

    def end(self) -> None:
        """The phase that was reported last is over."""
        if self._phase:
            took = time.monotonic() - self._began
            done, total = self._last
            if done < total and self._phase != _OVERLAPPED:  # less was left to do than foreseen
                self.report(Progress(self._phase, total, total, 0.0, None))
            self.seconds[self._phase] = self.seconds.get(self._phase, 0.0) + took
            self._phase = ""
