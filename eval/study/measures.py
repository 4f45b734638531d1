"""What answers are worth besides their score: by part, as labels, by BERTScore; whether they end.

Tables for a report, a line for each condition; every figure is made of the records that are kept.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from statistics import fmean

from eval.comparing import bootstrap
from eval.report import Grid
from eval.scoring.labels import Classification, classify
from eval.stats import Share
from eval.study.results import Record
from eval.study.spec import Study, TaskSpec


def further(study: Study, task: TaskSpec, records: Sequence[Record]) -> Iterator[Grid]:
    """Every table that a task of this kind has; `records` are the task's own."""
    own = [
        (one.name, told)
        for one in study.conditions
        if (told := [record for record in records if record.condition == one.name])
    ]
    yield _parts(own)
    if task.kind in {"label", "choice"}:
        yield _averages([(name, _classified(told)) for name, told in own])
    if task.bertscore:
        yield _bert_scores(task, own)


Own = Sequence[tuple[str, Sequence[Record]]]


def _parts(own: Own) -> Grid:
    """Means with intervals; and how often an answer came to its end, or was refused."""
    names = sorted({name for _, told in own for one in told for name in one.parts})
    rows = []
    for condition, told in own:
        cells = [_mean([one.parts[name] for one in told if name in one.parts]) for name in names]
        stopped = Share.of(one.finish_reason == "stop" for one in told)
        refused = Share.of(one.refused for one in told)
        rows.append((condition, str(stopped), str(refused), *cells))
    return Grid("Besides", ("condition", "stopped by itself", "refused", *names), tuple(rows))


def _mean(values: Sequence[float]) -> str:
    if not values:
        return "-"
    low, high = bootstrap(values)
    return f"{fmean(values):.3f} ({low:.3f} to {high:.3f})"


def _classified(records: Sequence[Record]) -> Classification:
    return classify([one.expected for one in records], [one.found for one in records])


def _averages(found: Sequence[tuple[str, Classification]]) -> Grid:
    """Precision, recall and F1 in all three averages: one alone can hide what another shows."""
    rows = []
    for condition, one in found:
        cells = [
            f"{scores.precision:.3f} / {scores.recall:.3f} / {scores.f1:.3f}"
            for scores in (one.averages[name] for name in ("micro", "macro", "weighted"))
        ]
        rows.append((condition, f"{one.accuracy:.3f}", f"{one.invalid:.1%}", *cells))
    head = ("condition", "accuracy", "no label", "micro P / R / F1", "macro", "weighted")
    return Grid("As a classification", head, tuple(rows))


def _bert_scores(task: TaskSpec, own: Own) -> Grid:
    from eval.scoring.bertscore import BertScoreSettings, bert_scores

    assert task.bertscore is not None
    told = task.bertscore
    settings = BertScoreSettings(told.model, told.layer, told.idf, told.baseline)
    rows = []
    name = ""
    for condition, records in own:
        found = bert_scores(
            [one.answer for one in records], [one.expected for one in records], settings
        )
        name = found.name
        cells = [
            _mean([one.f1 for one in scores]) if scores else "-"
            for scores in (found.raw, found.rescaled)
        ]
        spread = [
            f"{fmean(one.precision for one in found.raw):.3f}",
            f"{fmean(one.recall for one in found.raw):.3f}",
        ]
        rows.append((condition, *spread, *cells, str(found.cut)))
    head = ("condition", "P", "R", "F1", "F1, rescaled", "texts cut")
    return Grid(f"BERTScore, {name}", head, tuple(rows))
