"""Which settings to change: only where the domain's own cases show a difference. Pure."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from eval.stats import cases_needed, mcnemar, sign_flips
from eval.tune_measure import Measured
from indexer.domain import RetrievalSettings

FEWEST = 20  # cases, below which nothing is proposed
FEWEST_UNANSWERABLE = 10
SIGNIFICANT = 0.05
LONGER = 1.1
WORTH_SEEING = 0.10  # a difference of recall
MOST_LOST = 0.05  # of the answerable questions, refused by a threshold that is proposed
SHOWN = (0.0, 0.02, 0.05, 0.1, 0.2)  # shares of them, at which thresholds are shown


@dataclass(frozen=True, slots=True)
class Comparison:
    """Against the present settings; `p` is corrected for the number of comparisons."""

    measured: Measured
    p: float
    better: bool


@dataclass(frozen=True, slots=True)
class Best:
    """The best cosine of each question: what decides whether anything counts as found.

    `unanswerable` are the domain's own, near its documents; `strays` belong to other domains.
    """

    answerable: tuple[float, ...]
    unanswerable: tuple[float, ...]
    strays: tuple[float, ...] = ()

    @property
    def refusable(self) -> int:
        return len(self.unanswerable) + len(self.strays)


@dataclass(frozen=True, slots=True)
class Threshold:
    """A least cosine, and what it does: of each kind of question how many, of how many."""

    value: float
    refused_answerable: tuple[int, int]
    refused_unanswerable: tuple[int, int]
    refused_strays: tuple[int, int] = (0, 0)


@dataclass(frozen=True, slots=True)
class Calibration:
    """The present and the best least cosine; `p`: is the best chosen on the others better?

    `others`: what stricter and milder thresholds would do.
    """

    present: Threshold
    best: Threshold
    p: float
    others: tuple[Threshold, ...] = ()

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


def calibrate(found: Best, present: float) -> Calibration:
    """Where to refuse.

    A threshold chosen and judged on the same questions looks better than it is. So each question
    is judged by the one that all the others choose.
    """
    gained = lost = 0
    for rest, score, wanted in _left_out(found):
        new = (score >= _best_threshold(rest)) == wanted
        old = (score >= present) == wanted
        gained += new and not old
        lost += old and not new
    p = mcnemar(gained, lost) if gained > lost else 1.0
    best = _judged(found, _best_threshold(found))
    values = {_floor(float(np.quantile(found.answerable, share))) for share in SHOWN}
    others = tuple(_judged(found, value) for value in sorted(values - {present, best.value}))
    return Calibration(_judged(found, present), best, p, others)


def _left_out(found: Best) -> Iterator[tuple[Best, float, bool]]:
    """Each question's score, and whether it wants an answer, with all that is left of the others"""
    for place, score in enumerate(found.answerable):
        yield replace(found, answerable=_without(found.answerable, place)), score, True
    for place, score in enumerate(found.unanswerable):
        yield replace(found, unanswerable=_without(found.unanswerable, place)), score, False
    for place, score in enumerate(found.strays):
        yield replace(found, strays=_without(found.strays, place)), score, False


def _without(scores: tuple[float, ...], place: int) -> tuple[float, ...]:
    return scores[:place] + scores[place + 1 :]


def _best_threshold(found: Best) -> float:
    """Half-way between two neighbours, where the kinds are told apart best, rounded down.

    Own unanswerable questions count as much as all strays, which are easier; and never are more
    than one in twenty of the answerable questions refused.
    """
    values = np.unique([*found.answerable, *found.unanswerable, *found.strays])
    between = (values[:-1] + values[1:]) / 2 if len(values) > 1 else values
    lost = _below(found.answerable, between)
    kinds = [kind for kind in (found.unanswerable, found.strays) if kind]
    refused = np.mean([_below(kind, between) for kind in kinds], axis=0) if kinds else 0 * lost
    worth = np.where(lost <= MOST_LOST, refused - lost, -1.0)
    return _floor(float(between[int(np.argmax(worth))]))


def _below(scores: Sequence[float], values: NDArray[np.float64]) -> NDArray[np.float64]:
    """For each of the values, the share of the scores that it refuses."""
    return np.searchsorted(np.sort(scores), values) / max(len(scores), 1)


def _floor(value: float) -> float:
    return math.floor(value * 100) / 100


def _judged(found: Best, value: float) -> Threshold:
    kinds = (found.answerable, found.unanswerable, found.strays)
    refused = [(sum(score < value for score in kind), len(kind)) for kind in kinds]
    return Threshold(value, *refused)
