"""A classification, class by class: what the best condition gets right, and what it confuses."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from statistics import fmean
from typing import Final

from eval.report import Grid
from eval.scoring.labels import classify
from eval.study.blocks import Block, Confusion
from eval.study.results import Record

_CONFUSED: Final = 12


def by_class(shared: Mapping[str, Sequence[float]], records: Sequence[Record]) -> Iterable[Block]:
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
