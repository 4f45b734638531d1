"""Whether an engine moves while it is asked: bytes that arrive, against the time without any."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager


class Pulse:
    """How long answers have been under way without a sign of life.

    Only time in which something was asked counts, and it adds up: an engine that hangs is noticed
    although its clients give up one after another.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._under_way = 0
        self._silent = 0.0
        self._since = clock()

    @property
    def under_way(self) -> int:
        return self._under_way

    @property
    def silent(self) -> float:
        """Seconds with something under way since the last sign of life."""
        return self._silent + (self._clock() - self._since if self._under_way else 0.0)

    @property
    def idle(self) -> float:
        """Seconds since anything was under way; 0 while something is."""
        return 0.0 if self._under_way else self._clock() - self._since

    def begin(self) -> None:
        """Something is asked; `end` must follow."""
        if not self._under_way:
            self._since = self._clock()
        self._under_way += 1

    def end(self) -> None:
        now = self._clock()
        self._under_way -= 1
        if not self._under_way:
            self._silent += now - self._since
            self._since = now

    def beat(self) -> None:
        """A sign of life."""
        self._silent = 0.0
        self._since = self._clock()

    @contextmanager
    def asking(self) -> Iterator[None]:
        """Something is under way for the block; that it comes to its end is a sign of life."""
        self.begin()
        try:
            yield
            self.beat()
        finally:
            self.end()
