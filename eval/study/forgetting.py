"""What a condition gained on its own tasks against what it lost on general ones."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np

from eval.comparing import bootstrap
from eval.report import Grid
from eval.study.blocks import Forgetting, Section, Span
from eval.study.results import Record
from eval.study.run import scores
from eval.study.spec import Study


def forgetting(study: Study, records: Sequence[Record]) -> Iterable[Section]:
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
