"""Admission: over the bound is 429 before any work is done."""

from collections.abc import Callable

from service.errors import Overloaded
from service.telemetry import Telemetry


class Admission:
    """Counts answers in flight."""

    def __init__(self, limit: int, telemetry: Telemetry) -> None:
        self._limit = limit
        self._telemetry = telemetry
        self._in_flight = 0

    def permit(self) -> Callable[[], None]:
        """Admit one answer; the caller must call what is returned, once, at its end."""
        if self._in_flight >= self._limit:
            raise Overloaded(
                f"{self._limit} answers are in flight", "Try again shortly", retry_after=1
            )
        self._count(1)
        return lambda: self._count(-1)

    def _count(self, change: int) -> None:
        self._in_flight += change
        self._telemetry.in_flight.set(self._in_flight)
