"""Shares with their intervals, and ratios of paired measurements. Pure."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from statistics import fmean, median, stdev

import numpy as np

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


def mean_interval(values: Sequence[float], z: float = Z95) -> tuple[float, float]:
    """Of a mean, by the normal approximation; of fewer than two values nothing is known."""
    if len(values) < 2:
        return -math.inf, math.inf
    half = z * stdev(values) / math.sqrt(len(values))
    return fmean(values) - half, fmean(values) + half


def mcnemar(gained: int, lost: int) -> float:
    """Exact two-sided p-value of a paired comparison of shares (McNemar, 1947)."""
    changed, fewer = gained + lost, min(gained, lost)
    tail = sum(math.comb(changed, count) for count in range(fewer + 1))
    return min(1.0, 2 * tail / math.pow(2, changed))


def sign_flips(differences: Sequence[float], draws: int = 10_000, seed: int = 1) -> float:
    """Two-sided p-value that paired differences are about nothing: by flipping their signs."""
    told = np.array([value for value in differences if value])
    if not len(told):
        return 1.0
    chosen = np.random.default_rng(seed)  # the same answer each time
    signs = chosen.integers(0, 2, (draws, len(told)), dtype=np.int8) * 2 - 1
    extreme = int(np.sum(np.abs(signs @ told) >= abs(told.sum()) - 1e-12))
    return (extreme + 1) / (draws + 1)


def cases_needed(difference: float, power_z: float = 0.8416, z: float = Z95) -> int:
    """For McNemar's test to see such a difference of shares four times in five (Connor, 1987).

    As many cases again are taken to change the other way as make twice the difference change.
    """
    changed = 2 * difference
    root = z * math.sqrt(changed) + power_z * math.sqrt(changed - difference**2)
    return math.ceil((root / difference) ** 2)


def paired_ratio(ours: Sequence[float], theirs: Sequence[float]) -> Spread:
    """Ratios within each round, so that a load that both suffered cancels out."""
    return Spread.of([mine / other for mine, other in zip(ours, theirs, strict=True)])
