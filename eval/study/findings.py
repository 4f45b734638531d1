"""What a study found, before it is written down: tables, sentences and what is to be drawn.

Markdown and HTML are made of the same findings, so that they cannot say different things.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean, median
from typing import Final, TypeAlias

import numpy as np

from eval.comparing import Comparison, bootstrap, compare, detectable, noise_floor
from eval.report import Grid
from eval.scoring.labels import classify
from eval.study.measures import further
from eval.study.results import Record
from eval.study.run import scores
from eval.study.spec import ConditionSpec, Study, TaskSpec

SHOWN: Final = 5
_CONFUSED: Final = 12
_MILLION: Final = 1_000_000


@dataclass(frozen=True, slots=True)
class Span:
    """A value with its 95 % interval, by name."""

    name: str
    value: float
    low: float
    high: float


@dataclass(frozen=True, slots=True)
class Intervals:
    """To be drawn: spans below each other; `zero`: a line there, for differences."""

    title: str
    spans: tuple[Span, ...]
    zero: bool = False


@dataclass(frozen=True, slots=True)
class Costs:
    """To be drawn: by name the median and 95th percentile of seconds, and tokens in and out."""

    title: str
    rows: tuple[tuple[str, float, float, float, float], ...]


@dataclass(frozen=True, slots=True)
class Confusion:
    """To be drawn: how often each expected class (a row) was read as which; the last: none."""

    title: str
    classes: tuple[str, ...]
    counts: tuple[tuple[int, ...], ...]


@dataclass(frozen=True, slots=True)
class Forgetting:
    """To be drawn: by name what was gained on a task and what changed on the general ones."""

    title: str
    points: tuple[tuple[Span, Span], ...]


@dataclass(frozen=True, slots=True)
class Side:
    """One question as two conditions answered it."""

    question: str
    expected: str
    first: str
    second: str


@dataclass(frozen=True, slots=True)
class Sides:
    """Answers side by side; `right` and `wrong` name the conditions."""

    title: str
    right: str
    wrong: str
    rows: tuple[Side, ...]


Drawn: TypeAlias = Intervals | Costs | Confusion | Forgetting
Block: TypeAlias = Grid | str | Drawn | Sides


@dataclass(frozen=True, slots=True)
class Section:
    """What is said of one task."""

    title: str
    blocks: tuple[Block, ...]


def findings(study: Study, records: Sequence[Record], *, times: bool = True) -> list[Section]:
    """A section for each task that has answers, in the study's order.

    Times are the only thing that differs when the same questions are asked again; without them
    equal answers give an equal report.
    """
    found = []
    for task in study.tasks:
        told = [one for one in records if one.task == task.name]
        if told:
            found.append(Section(task.name, tuple(_task(study, task, told, times))))
    return [*found, *_forgetting(study, records)]


def _task(study: Study, task: TaskSpec, records: Sequence[Record], times: bool) -> Iterable[Block]:
    told = scores(records)
    shared = {one.name: told[one.name] for one in study.conditions if one.name in told}
    yield _conditions(study, task, records, times)
    yield Intervals(f"{task.name}: mean score, 95 %", tuple(_spans(shared)))
    if len(shared) > 1:
        compared = compare(shared)
        yield _comparisons(compared)
        yield _differences(study, compared)
        yield _power(shared, records)
        yield from _won_and_lost(compared, records)
    if task.kind in ("label", "choice"):
        yield from _classes(shared, records)
    yield from further(study, task, records)
    yield _costs(study, task, records, times)


def _spans(shared: Mapping[str, Sequence[float]]) -> Iterable[Span]:
    for name, values in shared.items():
        yield Span(name, fmean(values), *bootstrap(values))


def _conditions(study: Study, task: TaskSpec, records: Sequence[Record], times: bool) -> Grid:
    head = ["condition", "score", "95 %", "answers", "none read", "cut off"]
    head += ["p50 s", "p95 s"] if times else []
    head += ["tokens in", "out", "cost"]
    rows: list[tuple[str, ...]] = []
    for condition in study.conditions:
        own = [one for one in records if one.condition == condition.name]
        if own:
            rows.append((condition.name, *_cells(condition, own, times)))
    return Grid(f"{task.name}, by condition", tuple(head), tuple(rows))


def _cells(condition: ConditionSpec, records: Sequence[Record], times: bool) -> tuple[str, ...]:
    """The interval is over questions: repeats of one question are no further questions."""
    values = scores(records)[condition.name]
    low, high = bootstrap(values)
    seconds = sorted(one.seconds for one in records)
    spent_in, spent_out = (
        fmean(one.tokens_in for one in records),
        fmean(one.tokens_out for one in records),
    )
    cost = (spent_in * condition.cost_in + spent_out * condition.cost_out) / _MILLION
    took = (f"{median(seconds):.2f}", f"{np.quantile(seconds, 0.95):.2f}") if times else ()
    return (
        f"{fmean(values):.3f}",
        f"{low:.3f} to {high:.3f}",
        str(len(records)),
        f"{fmean(one.rule == 'none' for one in records):.1%}",
        f"{fmean(one.finish_reason == 'length' for one in records):.1%}",
        *took,
        f"{spent_in:.0f}",
        f"{spent_out:.0f}",
        f"{cost:.6f}" if cost else "-",
    )


def _comparisons(compared: Sequence[Comparison]) -> Grid:
    rows = tuple(
        (
            f"{one.first} - {one.second}",
            f"{one.difference:+.3f}",
            f"{one.interval[0]:+.3f} to {one.interval[1]:+.3f}",
            f"{one.p:.4f}",
            f"{one.adjusted:.4f}",
            one.winner,
        )
        for one in compared
    )
    head = ("pair", "difference", "95 %", "p", "p, Holm", "better, surely")
    return Grid("In pairs, on the same questions", head, rows)


def _differences(study: Study, compared: Sequence[Comparison]) -> Intervals:
    """Of all others against the study's baseline."""
    name = study.against
    spans = []
    for one in compared:
        if name in (one.first, one.second):
            sign = 1 if one.second == name else -1
            other = one.first if one.second == name else one.second
            low, high = sorted(sign * bound for bound in one.interval)
            spans.append(Span(other, sign * one.difference, low, high))
    return Intervals(f"Difference to {name}, 95 %", tuple(spans), zero=True)


def _power(shared: Mapping[str, list[float]], records: Sequence[Record]) -> str:
    """What so many questions can show at all, and what moves by itself."""
    names = list(shared)
    told = [
        detectable(np.subtract(shared[a], shared[b]))
        for at, a in enumerate(names)
        for b in names[at + 1 :]
    ]
    runs: dict[str, dict[int, list[float]]] = {}
    for one in records:
        runs.setdefault(one.condition, {}).setdefault(one.seed, []).append(one.score)
    moved = max(noise_floor(list(by_seed.values())) for by_seed in runs.values())
    return (
        f"{len(next(iter(shared.values())))} questions show a difference of {max(told):.3f} four"
        f" times in five. Between repeated runs a condition moved by {moved:.3f} at most."
    )


def _won_and_lost(compared: Sequence[Comparison], records: Sequence[Record]) -> Iterable[Sides]:
    """Some questions that the surest winner got right and the other did not, and the reverse."""
    sure = [one for one in compared if one.winner]
    if not sure:
        return
    most = max(sure, key=lambda one: abs(one.difference))
    other = most.second if most.winner == most.first else most.first
    for title, right, wrong in (("Won", most.winner, other), ("Lost", other, most.winner)):
        rows = tuple(_differing(records, right, wrong))[:SHOWN]
        if rows:
            yield Sides(f"{title} by {most.winner} against {other}", right, wrong, rows)


def _differing(records: Sequence[Record], right: str, wrong: str) -> Iterable[Side]:
    """Each question once, at the first seed that both were asked with."""
    by_key = {(one.condition, one.item, one.seed): one for one in records}
    seen = set()
    for one in sorted(records, key=lambda one: (one.item, one.seed)):
        other = by_key.get((wrong, one.item, one.seed))
        if one.condition != right or other is None or one.item in seen:
            continue
        seen.add(one.item)
        if one.score > other.score:
            asked = one.messages[-1]["content"]
            yield Side(asked, one.expected, one.answer, other.answer)


def _classes(shared: Mapping[str, Sequence[float]], records: Sequence[Record]) -> Iterable[Block]:
    """Of the best condition: every class, and what was taken for what."""
    best = max(shared, key=lambda name: fmean(shared[name]))
    own = [one for one in records if one.condition == best]
    found = classify([one.expected for one in own], [one.found for one in own])
    rows = [
        (
            name,
            str(found.counts.get(name, 0)),
            f"{told.precision:.2f}",
            f"{told.recall:.2f}",
            f"{told.f1:.2f}",
        )
        for name, told in sorted(found.classes.items(), key=lambda one: (one[1].f1, one[0]))
    ]
    head = ("class", "expected", "precision", "recall", "F1")
    yield Grid(f"{best}, by class, the worst first", head, tuple(rows))
    most = [(a, b, str(count)) for a, b, count in found.confused[:_CONFUSED]]
    if most:
        title = f"{best}: what was most often taken for what"
        yield Grid(title, ("expected", "answered", "times"), tuple(most))
    yield _confusion(best, own)


def _confusion(name: str, records: Sequence[Record]) -> Confusion:
    classes = sorted({one.expected for one in records})
    place = {label: at for at, label in enumerate(classes)}
    counts = [[0] * (len(classes) + 1) for _ in classes]
    for one in records:
        counts[place[one.expected]][place.get(one.found or "", len(classes))] += 1
    return Confusion(
        f"{name}: expected (down) and answered (across)", tuple(classes), tuple(map(tuple, counts))
    )


def _costs(study: Study, task: TaskSpec, records: Sequence[Record], times: bool) -> Costs:
    rows = []
    for condition in study.conditions:
        own = [one for one in records if one.condition == condition.name]
        if own:
            seconds = [one.seconds if times else 0.0 for one in own]
            rows.append(
                (
                    condition.name,
                    float(median(seconds)),
                    float(np.quantile(seconds, 0.95)),
                    fmean(one.tokens_in for one in own),
                    fmean(one.tokens_out for one in own),
                )
            )
    return Costs(f"{task.name}: seconds and tokens of an answer", tuple(rows))


def _forgetting(study: Study, records: Sequence[Record]) -> Iterable[Section]:
    """Where the study says which tasks are general: what was gained against what was lost."""
    general = [one for one in records if one.task in study.general]
    own = [one for one in records if one.task not in study.general]
    if not general or not own:
        return
    sides = [_against(study, part) for part in (own, general)]
    names = [one.name for one in study.conditions if all(one.name in side for side in sides)]
    points = tuple((sides[0][name], sides[1][name]) for name in names)
    if not points:
        return
    head = ("condition", "gain", "95 %", "change on general tasks", "95 %")
    rows = tuple(
        (
            gain.name,
            f"{gain.value:+.3f}",
            f"{gain.low:+.3f} to {gain.high:+.3f}",
            f"{change.value:+.3f}",
            f"{change.low:+.3f} to {change.high:+.3f}",
        )
        for gain, change in points
    )
    title = f"Gain and forgetting, against {study.against}"
    yield Section(title, (Grid(title, head, rows), Forgetting(title, points)))


def _against(study: Study, records: Sequence[Record]) -> dict[str, Span]:
    """By condition the difference to the baseline on the same questions."""
    told = scores(records)
    base = told.get(study.against)
    if base is None:
        return {}
    found = {}
    for name, values in told.items():
        if name != study.against:
            differences = np.subtract(values, base)
            found[name] = Span(name, float(differences.mean()), *bootstrap(differences))
    return found
