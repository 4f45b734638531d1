"""What a study found, before it is written down: tables, sentences and what is to be drawn.

Markdown and HTML are made of the same findings, so that they cannot say different things.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from statistics import fmean, median
from typing import Final

import numpy as np

from eval.comparing import Comparison, bootstrap, compare, detectable, noise_floor
from eval.report import Grid
from eval.study.blocks import Block, Costs, Intervals, Section, Side, Sides, Span
from eval.study.classes import by_class
from eval.study.forgetting import forgetting
from eval.study.measures import further
from eval.study.results import Record
from eval.study.run import scores
from eval.study.spec import ConditionSpec, Study, TaskSpec

SHOWN: Final = 5
_MILLION: Final = 1_000_000


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
    return [*found, *forgetting(study, records)]


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
        yield from by_class(shared, records)
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
