"""How sure a paired difference is: the bounds that the gate goes by. Pure."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from statistics import NormalDist
from typing import Any, Final

import numpy as np

_DRAWS: Final = 10_000


def difference_bounds(differences: Sequence[float], confidence: float) -> tuple[float, float]:
    """One-sided bounds of a mean paired difference, each at `confidence`.

    Of right and wrong answers by Bonett and Price's adjusted Wald interval (2012, J. Educ. Behav.
    Stat. 37), which does not shrink to nothing where no answer differs; else by the percentile
    bootstrap (Efron 1979), the same each time.
    """
    told = np.asarray(differences, np.float64)
    if told.size == 0:
        raise ValueError("nothing to compare")
    if np.isin(told, (-1.0, 0.0, 1.0)).all():
        return _adjusted_wald(int((told > 0).sum()), int((told < 0).sum()), told.size, confidence)
    return _bootstrap(told, confidence, np.mean)


def ratio_bounds(ratios: Sequence[float], confidence: float) -> tuple[float, float, float]:
    """The median of paired ratios with its one-sided bounds."""
    told = np.asarray(ratios, np.float64)
    low, high = _bootstrap(told, confidence, np.median)
    return float(np.median(told)), low, high


def fewest(margin: float, confidence: float) -> int:
    """How many questions it takes to show a margin even where every answer is the same."""
    z = NormalDist().inv_cdf(confidence)
    return max(1, math.ceil(z * math.sqrt(2) / margin - 2))


def _adjusted_wald(gained: int, lost: int, count: int, confidence: float) -> tuple[float, float]:
    """One is added to the gained, the lost and thereby two to all."""
    up, down, n = (gained + 1) / (count + 2), (lost + 1) / (count + 2), count + 2
    half = NormalDist().inv_cdf(confidence) * math.sqrt((up + down - (up - down) ** 2) / n)
    return max(-1.0, up - down - half), min(1.0, up - down + half)


def _bootstrap(
    told: np.ndarray, confidence: float, middle: Callable[..., Any]
) -> tuple[float, float]:
    chosen = np.random.default_rng(1)
    drawn = np.concatenate(
        [
            middle(told[chosen.integers(0, told.size, (100, told.size))], axis=1)
            for _ in range(_DRAWS // 100)
        ]
    )
    low, high = np.quantile(drawn, (1 - confidence, confidence))
    return float(low), float(high)
