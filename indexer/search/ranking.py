"""Which rows fit a question, in the order that a mode gives them: vectors, words or both."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from indexer.domain import RetrievalSettings
from indexer.errors import StoreError
from indexer.index.lexical import LexicalIndex, Scored
from indexer.index.vectors import VectorIndex
from indexer.records import Vectors
from indexer.search.diversity import diverse
from indexer.search.eligible import Eligible
from indexer.search.fusion import Ranking, fuse, ordered


@dataclass(frozen=True, slots=True)
class Question:
    """A question as it is looked up; `similar` finds demonstrations where another vector does."""

    text: str
    vector: Vectors
    similar: Vectors | None = None


class Indexes(Protocol):
    """What is searched: the two indexes of a snapshot."""

    @property
    def passages(self) -> VectorIndex: ...

    @property
    def lexical(self) -> LexicalIndex: ...


@dataclass(frozen=True, slots=True)
class Candidate:
    """A row of the snapshot. `order` is the mode's own score: a cosine, BM25, fused or reranked."""

    row: int
    order: float
    cosine: float
    lexical: float | None = None


def candidates(
    snapshot: Indexes, question: Question, settings: RetrievalSettings, eligible: Eligible
) -> list[Candidate]:
    """Best first; as many as were wanted, more where they are still to be chosen from.

    Below `min_passage_score` a row does not count as found, by cosine. Where words alone decide,
    the best cosine decides for all: BM25 knows better which, but not whether.
    """
    check_dimension(snapshot.passages, question.vector)
    depth = _depth(settings)
    if depth <= 0 or not snapshot.passages.count or eligible.none:
        return []
    cosines, told, joint = _ranked(snapshot, question, settings, eligible, depth)
    found = [Candidate(row, joint[row], cosines[row], told.get(row) or None) for row in joint]
    least = settings.min_passage_score
    if settings.mode == "lexical":
        return found if any(one.cosine >= least for one in found) else []
    return [one for one in found if one.cosine >= least]


def _ranked(
    snapshot: Indexes,
    question: Question,
    settings: RetrievalSettings,
    eligible: Eligible,
    depth: int,
) -> tuple[Ranking, Ranking, Ranking]:
    """Of the rows found: their cosines, their scores by words, and the mode's own, best first."""
    near: Ranking = {}
    if settings.mode != "lexical":
        near = nearest(snapshot.passages, question.vector, depth, eligible)
    if settings.mode == "dense":
        return near, {}, near
    scored = snapshot.lexical.scored(question.text, eligible.excluded)
    told: Ranking = _told(scored, depth, eligible)
    cosines = _cosines(snapshot.passages, question.vector, {**near, **told}, near)
    if settings.mode == "lexical":
        return cosines, told, told
    if settings.fusion == "minmax":
        near, told = cosines, _completed(scored, cosines, told)
    return cosines, told, fuse((near, told), settings.fusion)


def choose(
    snapshot: Indexes, found: Sequence[Candidate], settings: RetrievalSettings
) -> list[Candidate]:
    """At most as many as the settings say, unlike each other where they ask for that."""
    k = settings.passages
    if not settings.diversity or len(found) <= 1:
        return list(found[:k])
    vectors = snapshot.passages.vectors([one.row for one in found])
    relevance = np.array([one.order for one in found], dtype=np.float32)
    return [found[place] for place in diverse(relevance, vectors, settings.diversity, k)]


def reordered(found: Sequence[Candidate], scores: Vectors) -> list[Candidate]:
    """By these scores instead, best first."""
    scored = [replace(one, order=float(score)) for one, score in zip(found, scores, strict=True)]
    return sorted(scored, key=lambda one: (-one.order, one.row))


def nearest(
    index: VectorIndex, vector: Vectors, k: int, eligible: Eligible | None = None
) -> dict[int, float]:
    """Row to cosine, best first."""
    allowed = eligible.allowed if eligible else None
    excluded = eligible.excluded if eligible else None
    k = min(k, index.count)
    if k <= 0 or (allowed is not None and not len(allowed)):
        return {}
    scores, rows = index.search(vector, k, allowed, excluded)
    found = zip(rows[0].tolist(), scores[0].tolist(), strict=True)
    return ordered({row: score for row, score in found if row >= 0})


def check_dimension(index: VectorIndex, vector: Vectors) -> None:
    """StoreError unless questions are as long as what they are compared with."""
    if index.count and vector.shape != (index.dimension,):
        raise StoreError(
            f"A question of {vector.shape} numbers was asked of an index of {index.dimension}",
            "Use the embedding model that the snapshot names, or index the domain again",
        )


def _depth(settings: RetrievalSettings) -> int:
    """How many each ranking gives."""
    if not settings.passages:
        return 0
    chosen_later = settings.mode == "hybrid" or settings.rerank or settings.diversity
    return max(settings.passages, settings.candidates if chosen_later else 0)


def _told(scored: Scored, k: int, eligible: Eligible) -> dict[int, float]:
    scores, rows = scored.best(k, eligible.allowed)
    return dict(zip(rows.tolist(), scores.tolist(), strict=True))


def _completed(scored: Scored, rows: Ranking, told: Ranking) -> dict[int, float]:
    """Scores by words of all these rows: that none of the best is no reason to count as none."""
    missing = [row for row in rows if row not in told]
    scores = scored.of(np.array(missing, dtype=np.int64))
    return {**told, **dict(zip(missing, scores.tolist(), strict=True))}


def _cosines(
    index: VectorIndex, vector: Vectors, rows: Ranking, known: Ranking
) -> dict[int, float]:
    """Of every row: known from the search, or computed from the stored vectors."""
    missing = [row for row in rows if row not in known]
    if not missing:
        return dict(known)
    computed: NDArray[np.float32] = index.vectors(missing) @ vector
    return {**known, **dict(zip(missing, computed.tolist(), strict=True))}
