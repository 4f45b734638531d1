"""Whether two releases differ, told at any moment and as often as one likes.

The mixture sequential probability ratio test with a normal mixture (Robbins 1970; Johari, Koomen,
Pekelis and Walsh, "Always Valid Inference", Operations Research 70(3), 2022): looking every day
does not make chance a winner, as it would with a test of fixed size. Pure.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Final

import numpy as np

FEWEST: Final = 30


@dataclass(frozen=True, slots=True)
class Sample:
    """How many there are, their mean, and the variance of one."""

    count: int
    mean: float
    variance: float

    @classmethod
    def of(cls, values: Sequence[float], *, is_share: bool) -> Sample:
        """Of shares the variance is that of one more hit and one more miss: never nothing."""
        if not values:
            return cls(0, 0.0, 0.0)
        mean = fmean(values)
        if is_share:
            smooth = (sum(values) + 1) / (len(values) + 2)
            return cls(len(values), mean, smooth * (1 - smooth))
        return cls(len(values), mean, float(np.var(values, ddof=1)) if len(values) > 1 else 0.0)


@dataclass(frozen=True, slots=True)
class Verdict:
    """`difference` is the canary's mean less the live one's; `low` to `high` holds at all times.

    `p` is always valid: below the level, the two surely differ. Without enough of both it is 1.
    """

    difference: float
    low: float
    high: float
    p: float


def compare(canary: Sample, live: Sample, scale: float, level: float) -> Verdict:
    """`scale` is how large a difference is expected to be: chosen before there are any values.

    It decides how soon a difference is seen, never how often chance is taken for one.
    """
    difference = canary.mean - live.mean
    if min(canary.count, live.count) < FEWEST:
        return Verdict(difference, -math.inf, math.inf, 1.0)
    spread = canary.variance / canary.count + live.variance / live.count
    if spread <= 0:
        return Verdict(difference, -math.inf, math.inf, 1.0)
    mixed = spread + scale**2
    log_ratio = 0.5 * math.log(spread / mixed) + (scale * difference) ** 2 / (2 * spread * mixed)
    p = min(1.0, math.exp(-log_ratio)) if log_ratio > -700 else 1.0
    half = math.sqrt(
        spread * mixed / scale**2 * (math.log(mixed / spread) + 2 * math.log(1 / level))
    )
    return Verdict(difference, difference - half, difference + half, p)
