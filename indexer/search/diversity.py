"""Choosing what is good and unlike what was chosen already. Pure."""

import numpy as np

from indexer.records import Vectors


def diverse(relevance: Vectors, vectors: Vectors, diversity: float, k: int) -> list[int]:
    """Places of at most `k` rows of `vectors` [n, dimension], in the order they are chosen.

    Maximal marginal relevance (Carbonell and Goldstein, 1998): (1 - diversity) times relevance,
    stretched to [0, 1], less diversity times the greatest cosine to what was chosen before.
    """
    count = len(relevance)
    if not count:
        return []
    low, high = float(relevance.min()), float(relevance.max())
    worth = (1 - diversity) * ((relevance - low) / (high - low) if high > low else relevance * 0)
    likeness = np.zeros(count, dtype=np.float32)
    left = np.ones(count, dtype=bool)
    chosen: list[int] = []
    while len(chosen) < min(k, count):
        best = int(np.argmax(np.where(left, worth - diversity * likeness, -np.inf)))
        left[best] = False
        chosen.append(best)
        nearness = vectors @ vectors[best]
        likeness = nearness if len(chosen) == 1 else np.maximum(likeness, nearness)
    return chosen


def unlike(vectors: Vectors, limit: float) -> list[int]:
    """Places of those that have no cosine above `limit` to an earlier one that was kept."""
    kept: list[int] = []
    for place in range(len(vectors)):
        if not kept or float(np.max(vectors[kept] @ vectors[place])) <= limit:
            kept.append(place)
    return kept
