"""Two rankings of rows to one. Pure: knows neither words nor vectors."""

from collections.abc import Mapping, Sequence
from typing import Literal, TypeAlias

Ranking: TypeAlias = Mapping[int, float]  # row to score, best first

RRF_K = 60


def fuse(rankings: Sequence[Ranking], how: Literal["rrf", "minmax"]) -> dict[int, float]:
    """Every row of any ranking with its joint score, best first, equal ones by row."""
    fused = reciprocal_ranks(rankings) if how == "rrf" else normalised(rankings)
    return ordered(fused)


def ordered(scores: Mapping[int, float]) -> dict[int, float]:
    """Best first, equal ones by row."""
    return dict(sorted(scores.items(), key=lambda item: (-item[1], item[0])))


def reciprocal_ranks(rankings: Sequence[Ranking]) -> dict[int, float]:
    """Each ranking gives a row 1 / (60 + its place) (Cormack, Clarke and Büttcher, 2009)."""
    fused: dict[int, float] = {}
    for ranking in rankings:
        for place, row in enumerate(ranking, start=1):
            fused[row] = fused.get(row, 0.0) + 1 / (RRF_K + place)
    return fused


def normalised(rankings: Sequence[Ranking]) -> dict[int, float]:
    """Each ranking's scores stretched to [0, 1] and summed, with equal weights.

    A row that a ranking lacks gets 0 from it, so rankings should score every row of the others:
    on SciFact that is worth .006 nDCG@10.
    """
    fused: dict[int, float] = {}
    for ranking in rankings:
        for row, score in stretched(ranking).items():
            fused[row] = fused.get(row, 0.0) + score
    return fused


def stretched(ranking: Ranking) -> dict[int, float]:
    """The best score becomes 1 and the least 0; 1 for all where they are equal."""
    if not ranking:
        return {}
    low, high = min(ranking.values()), max(ranking.values())
    if high == low:
        return dict.fromkeys(ranking, 1.0)
    return {row: (score - low) / (high - low) for row, score in ranking.items()}
