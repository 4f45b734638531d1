"""How good a ranking is, as BEIR counts it. Pure; documents are known by any names."""

import math
from collections.abc import Hashable, Mapping, Sequence, Set
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

Name = TypeVar("Name", bound=Hashable)


def ndcg(ranked: Sequence[Name], relevance: Mapping[Name, int], k: int) -> float:
    """Discounted gain over the best possible one, as trec_eval computes it; 0 without any."""
    ideal = _gain(sorted(relevance.values(), reverse=True)[:k])
    return _gain([relevance.get(name, 0) for name in ranked[:k]]) / ideal if ideal else 0.0


def _gain(grades: Sequence[int]) -> float:
    return sum(grade / math.log2(place + 1) for place, grade in enumerate(grades, start=1))


def recall(ranked: Sequence[Name], relevant: Set[Name], k: int) -> float:
    """The share of the relevant that stands among the first `k`; 0 without any."""
    return len(relevant & set(ranked[:k])) / len(relevant) if relevant else 0.0


def reciprocal_rank(found: Sequence[bool]) -> float:
    """One over the place of the first that is right; 0 without any."""
    return next((1 / place for place, right in enumerate(found, start=1) if right), 0.0)


def spearman(first: Sequence[float], second: Sequence[float]) -> float:
    """Correlation of ranks, equal values sharing their mean rank."""
    ranks = np.corrcoef(_ranks(np.asarray(first)), _ranks(np.asarray(second)))
    return float(ranks[0, 1])


def _ranks(values: NDArray[np.float64]) -> NDArray[np.float64]:
    _, places, counts = np.unique(values, return_inverse=True, return_counts=True)
    last = np.cumsum(counts)
    means: NDArray[np.float64] = last - (counts - 1) / 2
    return means[places]
