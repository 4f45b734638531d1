"""What a study found, as Markdown: scores with intervals, who is surely better, at what cost."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from statistics import fmean, median

import numpy as np

from eval.comparing import Comparison, bootstrap, compare, detectable, noise_floor
from eval.report import Grid, markdown
from eval.scoring.labels import classify
from eval.scoring.numbers import lm_eval_flexible, lm_eval_strict
from eval.study.results import Record
from eval.study.run import scores
from eval.study.spec import ConditionSpec, Study, TaskSpec

_SHOWN = 5
_MILLION = 1_000_000


def report(study: Study, records: Sequence[Record]) -> str:
    """The whole report; tasks in the study's order."""
    parts = [f"# {study.name}", f"Study `{study.digest()[:12]}`, {len(records)} answers."]
    for task in study.tasks:
        told = [one for one in records if one.task == task.name]
        if told:
            parts += [f"## {task.name}", *_task(study, task, told)]
    return "\n\n".join(parts).rstrip() + "\n"


def _task(study: Study, task: TaskSpec, records: Sequence[Record]) -> Iterable[str]:
    found = scores(records)
    shared = {one.name: found[one.name] for one in study.conditions if one.name in found}
    yield markdown(_conditions(study, task, records))
    if len(shared) > 1:
        compared = compare(shared)
        yield markdown(_comparisons(compared))
        yield _power(shared, records)
        yield from _won_and_lost(compared, records)
    if task.kind == "label":
        yield markdown(_labels(study, records))


def _conditions(study: Study, task: TaskSpec, records: Sequence[Record]) -> Grid:
    head = ["condition", "score", "95 %", "answers", "none read", "cut off", "p50 s", "p95 s"]
    head += ["tokens in", "out", "cost"]
    if task.kind == "number":
        head += ["lm-eval strict", "flexible"]
    rows: list[tuple[str, ...]] = []
    for condition in study.conditions:
        own = [one for one in records if one.condition == condition.name]
        if own:
            rows.append((condition.name, *_cells(condition, own), *_lm_eval(task, own)))
    return Grid(f"{task.name}, by condition", tuple(head), tuple(rows))


def _cells(condition: ConditionSpec, records: Sequence[Record]) -> tuple[str, ...]:
    values = [one.score for one in records]
    low, high = bootstrap(values)
    seconds = sorted(one.seconds for one in records)
    spent_in, spent_out = (
        fmean(one.tokens_in for one in records),
        fmean(one.tokens_out for one in records),
    )
    cost = (spent_in * condition.cost_in + spent_out * condition.cost_out) / _MILLION
    return (
        f"{fmean(values):.3f}",
        f"{low:.3f} to {high:.3f}",
        str(len(records)),
        f"{fmean(one.rule == 'none' for one in records):.1%}",
        f"{fmean(one.finish_reason == 'length' for one in records):.1%}",
        f"{median(seconds):.2f}",
        f"{np.quantile(seconds, 0.95):.2f}",
        f"{spent_in:.0f}",
        f"{spent_out:.0f}",
        f"{cost:.6f}" if cost else "-",
    )


def _lm_eval(task: TaskSpec, records: Sequence[Record]) -> tuple[str, ...]:
    """The shares that lm-evaluation-harness' two ways of reading would give."""
    if task.kind != "number":
        return ()
    return tuple(
        f"{fmean(read(one.answer) == lm_eval_strict(one.expected) for one in records):.3f}"
        for read in (lm_eval_strict, lm_eval_flexible)
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


def _power(shared: dict[str, list[float]], records: Sequence[Record]) -> str:
    """What so many questions can show at all, and what moves by itself."""
    names = list(shared)
    told = [
        detectable(np.subtract(shared[a], shared[b]))
        for at, a in enumerate(names)
        for b in names[at + 1 :]
    ]
    runs = [
        noise_floor(
            [
                [one.score for one in records if one.condition == name and one.seed == seed]
                for seed in sorted({one.seed for one in records})
            ]
        )
        for name in names
    ]
    return (
        f"{len(next(iter(shared.values())))} questions show a difference of {max(told):.3f} four"
        f" times in five. Between repeated runs a condition moved by {max(runs):.3f} at most."
    )


def _won_and_lost(compared: Sequence[Comparison], records: Sequence[Record]) -> Iterable[str]:
    """Some questions that the surest winner got right and the other did not, and the reverse."""
    sure = [one for one in compared if one.winner]
    if not sure:
        return
    most = max(sure, key=lambda one: abs(one.difference))
    other = most.second if most.winner == most.first else most.first
    for title, right, wrong in (("Won", most.winner, other), ("Lost", other, most.winner)):
        rows = tuple(_differing(records, right, wrong))[:_SHOWN]
        if rows:
            head = ("question", "expected", right, wrong)
            yield markdown(Grid(f"{title} by {most.winner} against {other}", head, rows))


def _differing(
    records: Sequence[Record], right: str, wrong: str
) -> Iterable[tuple[str, str, str, str]]:
    by_key = {(one.condition, one.item, one.seed): one for one in records}
    for one in records:
        other = by_key.get((wrong, one.item, one.seed))
        if one.condition == right and other and one.score > other.score:
            asked = one.messages[-1]["content"]
            yield _cell(asked), _cell(one.expected), _cell(one.answer), _cell(other.answer)


def _cell(text: str) -> str:
    """One line of a table."""
    flat = " ".join(text.split()).replace("|", "\\|")
    return flat if len(flat) <= 120 else flat[:117] + "..."


def _labels(study: Study, records: Sequence[Record]) -> Grid:
    head = ("condition", "accuracy", "macro F1", "weighted F1", "micro F1", "no label")
    rows = []
    for condition in study.conditions:
        own = [one for one in records if one.condition == condition.name]
        if own:
            found = classify([one.expected for one in own], [one.found for one in own])
            f1 = [found.averages[name].f1 for name in ("macro", "weighted", "micro")]
            told = (found.accuracy, *f1)
            cells = tuple(f"{value:.3f}" for value in told)
            rows.append((condition.name, *cells, f"{found.invalid:.1%}"))
    return Grid("As a classification", head, tuple(rows))
