"""Conditions compared in pairs on the same questions: who is better, by how much, and is it sure?

After Miller, "Adding error bars to evals" (arXiv 2411.00640): differences are paired, and no winner
is named that chance could have made one.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Final

import numpy as np

from eval.stats import mcnemar, sign_flips

LEVEL: Final = 0.05
_DRAWS: Final = 10_000
_Z_LEVEL: Final = 1.959963984540054
_Z_POWER: Final = 0.8416212335729143


@dataclass(frozen=True, slots=True)
class Comparison:
    """`difference` is the first's mean less the second's; `adjusted` is Holm's p-value.

    `winner` is "" unless `adjusted` is below the level.
    """

    first: str
    second: str
    difference: float
    interval: tuple[float, float]
    p: float
    adjusted: float
    winner: str


def compare(scores: Mapping[str, Sequence[float]], level: float = LEVEL) -> list[Comparison]:
    """Every pair of conditions; each has a score for each question, in the same order.

    Shares of right answers are compared by McNemar's exact test, other scores by flipping signs.
    """
    pairs = list(combinations(scores, 2))
    differences = [
        np.subtract(scores[first], scores[second], dtype=np.float64) for first, second in pairs
    ]
    found = []
    for (first, second), told, (p, sure) in zip(
        pairs, differences, verdicts(differences), strict=True
    ):
        mean = float(told.mean())
        better = first if mean > 0 else second
        winner = better if sure < level and mean else ""
        found.append(Comparison(first, second, mean, bootstrap(told), p, sure, winner))
    return found


def verdicts(differences: Sequence[np.ndarray]) -> list[tuple[float, float]]:
    """For each pair's differences the p-value that there is none, and the same by Holm."""
    p = [p_value(told) for told in differences]
    return list(zip(p, holm(p), strict=True))


def p_value(differences: np.ndarray) -> float:
    """That paired differences are about nothing: McNemar's where all are right or wrong."""
    if differences.size == 0:
        raise ValueError("nothing to compare")
    if np.isin(differences, (-1.0, 0.0, 1.0)).all():
        return mcnemar(int((differences > 0).sum()), int((differences < 0).sum()))
    return sign_flips(differences.tolist())


def paired(
    first: Sequence[float], second: Sequence[float]
) -> tuple[float, tuple[float, float], float]:
    """The mean difference, its bootstrap interval, and the p-value that there is none."""
    differences = np.subtract(first, second, dtype=np.float64)
    p = p_value(differences)
    return float(differences.mean()), bootstrap(differences), p


def bootstrap(values: Sequence[float] | np.ndarray, seed: int = 1) -> tuple[float, float]:
    """The 95 % percentile interval of a mean (Efron 1979), the same each time."""
    seen = np.asarray(values, np.float64)
    chosen = np.random.default_rng(seed)
    means = np.concatenate(
        [
            seen[chosen.integers(0, seen.size, (100, seen.size))].mean(axis=1)
            for _ in range(_DRAWS // 100)
        ]
    )
    low, high = np.quantile(means, (LEVEL / 2, 1 - LEVEL / 2))
    return float(low), float(high)


def holm(values: Sequence[float]) -> list[float]:
    """p-values adjusted for their number (Holm 1979), in the order given."""
    adjusted = [0.0] * len(values)
    highest = 0.0
    for rank, place in enumerate(sorted(range(len(values)), key=values.__getitem__)):
        highest = max(highest, min(1.0, (len(values) - rank) * values[place]))
        adjusted[place] = highest
    return adjusted


def detectable(differences: Sequence[float] | np.ndarray) -> float:
    """The least mean difference that so many pairs show four times in five at the 5 % level."""
    seen = np.asarray(differences, np.float64)
    if seen.size < 2:
        return float("inf")
    return float((_Z_LEVEL + _Z_POWER) * seen.std(ddof=1) / np.sqrt(seen.size))


def noise_floor(runs: Sequence[Sequence[float]]) -> float:
    """How much the mean moves between runs of the very same condition: the greatest difference."""
    means = [float(np.mean(run)) for run in runs]
    return max(means) - min(means) if means else 0.0
