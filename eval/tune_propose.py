"""Which settings to change: only where the domain's own cases show a difference. Pure."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from eval.stats import cases_needed, mcnemar, sign_flips
from eval.tune_measure import Measured
from indexer.domain import RetrievalSettings

FEWEST = 20  # cases, below which nothing is proposed
FEWEST_UNANSWERABLE = 10
SIGNIFICANT = 0.05
LONGER = 1.1
WORTH_SEEING = 0.10  # a difference of recall


@dataclass(frozen=True, slots=True)
class Comparison:
    """Against the present settings; `p` is corrected for the number of comparisons."""

    measured: Measured
    p: float
    better: bool


@dataclass(frozen=True, slots=True)
class Threshold:
    """A least cosine, and what it does: shares of questions refused."""

    value: float
    refused_answerable: tuple[int, int]
    refused_unanswerable: tuple[int, int]


@dataclass(frozen=True, slots=True)
class Calibration:
    """The present and the best least cosine; `p`: is the best chosen on the others better?"""

    present: Threshold
    best: Threshold
    p: float

    @property
    def better(self) -> bool:
        return self.p < SIGNIFICANT and self.present.value != self.best.value


def compare(measured: Sequence[Measured]) -> list[Comparison]:
    """Each with the first. Better: more is found, or as much, higher up and in no more text.

    McNemar's exact test on what is found and sign flips on the ranks, both times the number of
    comparisons (Bonferroni).
    """
    present, *others = measured
    return [_compare(present, one, 2 * len(others)) for one in others]


def _compare(present: Measured, one: Measured, tests: int) -> Comparison:
    gained = sum(new and not old for old, new in zip(present.found, one.found, strict=True))
    lost = sum(old and not new for old, new in zip(present.found, one.found, strict=True))
    finds = min(1.0, tests * mcnemar(gained, lost))
    higher = [new - old for old, new in zip(present.ranks, one.ranks, strict=True)]
    ranks = min(1.0, tests * sign_flips(higher))
    found_more = finds < SIGNIFICANT and gained > lost
    ranked_higher = ranks < SIGNIFICANT and sum(higher) > 0 and gained >= lost
    brief = one.characters <= LONGER * present.characters  # longer passages rank higher by length
    return Comparison(one, min(finds, ranks), found_more or (ranked_higher and brief))


def choose(comparisons: Sequence[Comparison]) -> Comparison | None:
    """The best of those that are better; None: keep what there is."""
    better = [one for one in comparisons if one.better]
    return max(better, key=lambda one: one.measured.quality, default=None)


def changes(present: RetrievalSettings, proposed: RetrievalSettings) -> dict[str, object]:
    """The keys of `[retrieval]` that differ."""
    old, new = present.model_dump(), proposed.model_dump()
    return {key: new[key] for key in new if new[key] != old[key]}


def too_few(count: int) -> str:
    """Why nothing can be proposed, or an empty string."""
    needed = cases_needed(WORTH_SEEING)
    if count >= FEWEST:
        return ""
    return (
        f"{count} cases are too few to propose anything: {FEWEST} are the least, and about {needed}"
        f" tell a difference of {WORTH_SEEING:.0%} of recall"
    )


def calibrate(
    answerable: Sequence[float], unanswerable: Sequence[float], present: float
) -> Calibration:
    """From the best cosine of each question: where to refuse.

    A threshold chosen and judged on the same questions looks better than it is. So each question
    is judged by the one that all the others choose.
    """
    scores = [(score, True) for score in answerable] + [(score, False) for score in unanswerable]
    gained = lost = 0
    for place, (score, wanted) in enumerate(scores):
        rest = scores[:place] + scores[place + 1 :]
        new = (score >= _best_threshold(rest)) == wanted
        old = (score >= present) == wanted
        gained += new and not old
        lost += old and not new
    best = _best_threshold(scores)
    p = mcnemar(gained, lost) if gained > lost else 1.0
    return Calibration(
        _judged(answerable, unanswerable, present), _judged(answerable, unanswerable, best), p
    )


def _best_threshold(scores: Sequence[tuple[float, bool]]) -> float:
    """Half-way between two neighbours, where both kinds are told apart best, rounded down."""
    values = np.unique([score for score, _ in scores])
    between = (values[:-1] + values[1:]) / 2 if len(values) > 1 else values
    kept = np.sort([score for score, wanted in scores if wanted])
    refused = np.sort([score for score, wanted in scores if not wanted])
    rightly_kept = 1 - np.searchsorted(kept, between) / max(len(kept), 1)
    rightly_refused = np.searchsorted(refused, between) / max(len(refused), 1)
    best = float(between[int(np.argmax(rightly_kept + rightly_refused))])
    return math.floor(best * 100) / 100


def _judged(answerable: Sequence[float], unanswerable: Sequence[float], value: float) -> Threshold:
    return Threshold(
        value,
        (sum(score < value for score in answerable), len(answerable)),
        (sum(score < value for score in unanswerable), len(unanswerable)),
    )
