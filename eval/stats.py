"""Shares with their intervals, and ratios of paired measurements. Pure."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from statistics import median

Z95 = 1.959963984540054


@dataclass(frozen=True, slots=True)
class Share:
    """`hits` of `total`."""

    hits: int
    total: int

    @classmethod
    def of(cls, outcomes: Iterable[bool]) -> "Share":
        seen = list(outcomes)
        return cls(sum(seen), len(seen))

    @property
    def value(self) -> float | None:
        """None where nothing was counted: no share of nothing is zero."""
        return self.hits / self.total if self.total else None

    def interval(self, z: float = Z95) -> tuple[float, float]:
        """Wilson's score interval (Wilson 1927): stays within [0, 1], also for 0 and for all."""
        if not self.total:
            return 0.0, 1.0
        p, n = self.hits / self.total, self.total
        middle = (p + z * z / (2 * n)) / (1 + z * z / n)
        half = z / (1 + z * z / n) * math.sqrt(p * (1 - p) / n + z * z / (4 * n * n))
        return max(0.0, min(p, middle - half)), min(1.0, max(p, middle + half))

    def __str__(self) -> str:
        if self.value is None:
            return "-"
        low, high = self.interval()
        return f"{self.value:.2f} ({self.hits}/{self.total}; {low:.2f} to {high:.2f})"


@dataclass(frozen=True, slots=True)
class Spread:
    """Median of repeated measurements, with the least and the greatest."""

    middle: float
    low: float
    high: float

    @classmethod
    def of(cls, values: Sequence[float]) -> "Spread":
        return cls(median(values), min(values), max(values))

    def show(self, digits: int = 2) -> str:
        return f"{self.middle:.{digits}f} ({self.low:.{digits}f} to {self.high:.{digits}f})"


def paired_ratio(ours: Sequence[float], theirs: Sequence[float]) -> Spread:
    """Ratios within each round, so that a load that both suffered cancels out."""
    return Spread.of([mine / other for mine, other in zip(ours, theirs, strict=True)])
