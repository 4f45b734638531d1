"""What the canary and the live release did for real callers since the canary began.

Read from the store: which release gave which answer, and what callers thought of it. The unit is a
caller, since each stays with his release: his many answers are no many independent ones.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from statistics import fmean
from typing import Final, Literal, TypeAlias

from adapters.answered import AnsweredLine, AnsweredLog
from adapters.feedback import FeedbackStore
from adapters.release import ReleaseStore
from eval.canary.sequential import Sample, Verdict, compare
from indexer.errors import BadInput, NotFound

LEVEL: Final = 0.05
Side: TypeAlias = Literal["canary", "live"]
Values: TypeAlias = Mapping[Side, Sequence[float]]


@dataclass(frozen=True, slots=True)
class Measure:
    """One thing that is compared. `scale`: the difference that matters; `sign` 1: more is better.

    `is_log`: the values are logarithms, so that differences are ratios.
    """

    name: str
    scale: float
    sign: Literal[-1, 1]
    is_share: bool = True
    is_log: bool = False


MEASURES: Final = (
    Measure("refused", 0.05, -1),
    Measure("seconds", 0.1, -1, is_share=False, is_log=True),
    Measure("thumbs up", 0.1, 1),
)


@dataclass(frozen=True, slots=True)
class Compared:
    """One measure's outcome; `says`: better, worse or "" where it is not decided."""

    measure: Measure
    canary: Sample
    live: Sample
    verdict: Verdict
    says: Literal["better", "worse", ""]


@dataclass(frozen=True, slots=True)
class Watch:
    """A canary and who it is compared with, since when."""

    domain: str
    canary: int
    live: int
    since: datetime


def watch(store: ReleaseStore, domain: str) -> Watch:
    """The canary that answers now; BadInput where there is none."""
    canary = store.traffic(domain).canary
    live = store.live(domain)
    if canary is None or live is None:
        raise BadInput(f"{domain} has no canary", f"Begin one: `dslm release canary {domain} N`")
    entries, _ = store.audit(domain).read()
    begun = [one for one in entries if one.action == "canary" and one.new == canary.release]
    ended = [one.at for one in entries if one.old == canary.release and one.action == "drop"]
    begun = [one for one in begun if not ended or one.at > ended[-1]]
    if not begun:
        raise NotFound(f"The audit of {domain} does not say when its canary began", "Begin it anew")
    return Watch(domain, canary.release, live.number, begun[0].at)


def compare_traffic(store: ReleaseStore, seen: Watch) -> list[Compared]:
    """Every measure; the level is shared out among them, so that one in all is called falsely."""
    values = gather(store, seen)
    found = []
    for measure in MEASURES:
        own = values[measure.name]
        canary, live = (Sample.of(own[side], is_share=measure.is_share) for side in _SIDES)
        verdict = compare(canary, live, measure.scale, LEVEL / len(MEASURES))
        found.append(Compared(measure, canary, live, verdict, _says(measure, verdict)))
    return found


def gather(store: ReleaseStore, seen: Watch) -> dict[str, Values]:
    """By measure and side one value for each caller: the mean of his answers."""
    lines = list(_lines(store, seen))
    callers = {one.id: one.caller for one in lines}
    numbers: dict[int, Side] = {seen.canary: "canary", seen.live: "live"}
    thumbs = [
        (numbers[one.release], callers.get(one.answer, one.answer), float(one.rating == "up"))
        for one in FeedbackStore(store.paths, seen.domain).latest()
        if one.rating and one.at >= seen.since and one.release in numbers and one.role != "pinned"
    ]
    sided = [(numbers[one.release], one) for one in lines]
    return {
        "refused": _by_caller((side, one.caller, float(one.refused)) for side, one in sided),
        "seconds": _by_caller(
            (side, one.caller, math.log(max(one.seconds, 1e-4))) for side, one in sided
        ),
        "thumbs up": _by_caller(thumbs),
    }


_SIDES: Final[tuple[Side, Side]] = ("canary", "live")


def _lines(store: ReleaseStore, seen: Watch) -> Iterable[AnsweredLine]:
    """Answers since the canary began, of those who were drawn and not of those who asked for it."""
    wanted = {"canary": seen.canary, "live": seen.live}
    for one in AnsweredLog(store.paths, seen.domain).read():
        if one.at >= seen.since and wanted.get(one.role) == one.release:
            yield one


def _by_caller(told: Iterable[tuple[Side, str, float]]) -> Values:
    by_side: dict[Side, dict[str, list[float]]] = {side: {} for side in _SIDES}
    for side, caller, value in told:
        by_side[side].setdefault(caller, []).append(value)
    return {side: [fmean(own) for own in callers.values()] for side, callers in by_side.items()}


def _says(measure: Measure, verdict: Verdict) -> Literal["better", "worse", ""]:
    if verdict.p >= LEVEL / len(MEASURES):
        return ""
    return "better" if verdict.difference * measure.sign > 0 else "worse"
