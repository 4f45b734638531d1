"""Labels: read from an answer without guessing, and scored as classifications are."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Literal

INVALID: Final = "(no label)"
_EDGES: Final = re.compile(r"^[\s\"'`*_#\[(<]+|[\s\"'`*_\])>.,;:!?]+$")
_SPACE: Final = re.compile(r"[\s_-]+")
_REASONS: Final = re.compile(r"[.,:;!]\s|\s[-–(]")  # noqa: RUF001
_SAID: Final = re.compile(
    r"^(?:the\s+)?(?:label|class|category|intent|style|answer)(?:\s*(?:is|:|=))+\s*", re.IGNORECASE
)


@dataclass(frozen=True, slots=True)
class FoundLabel:
    """A label, and how it was found: exact, name, alias, said, first."""

    label: str
    rule: str


class LabelReader:
    """Reads one of a closed list of labels; `aliases` maps other words for them."""

    def __init__(self, labels: Sequence[str], aliases: Mapping[str, str] | None = None) -> None:
        self._exact = set(labels)
        self._names = {_plain(label): label for label in labels}
        self._aliases = {_plain(word): label for word, label in (aliases or {}).items()}

    def read(self, answer: str) -> FoundLabel | None:
        """The label that the answer's first line is or begins with; None for none, or two."""
        line = answer.strip().split("\n", 1)[0].strip()
        if line in self._exact:
            return FoundLabel(line, "exact")
        for rule, text in (("name", line), ("said", _SAID.sub("", _EDGES.sub("", line)))):
            if found := self._names.get(_plain(text)):
                return FoundLabel(found, rule)
            if found := self._aliases.get(_plain(text)):
                return FoundLabel(found, "alias")
        return self._before_reasons(_SAID.sub("", _EDGES.sub("", line)))

    def _before_reasons(self, line: str) -> FoundLabel | None:
        """A label, a stop or comma, and then reasons that speak of no other label."""
        head, _, reasons = _REASONS.sub("\0", line, count=1).partition("\0")
        found = self._names.get(_plain(head)) or self._aliases.get(_plain(head))
        spoken = f" {_plain(reasons)} "
        others = (name for name, label in self._names.items() if label != found)
        if found is None or any(f" {name} " in spoken for name in others):
            return None
        return FoundLabel(found, "first")


def _plain(text: str) -> str:
    """Without marks at its edges, one space between words, in lower case."""
    return _SPACE.sub(" ", _EDGES.sub("", text)).strip().casefold()


Average = Literal["micro", "macro", "weighted"]


@dataclass(frozen=True, slots=True)
class Scores:
    """Precision, recall and F1."""

    precision: float
    recall: float
    f1: float


@dataclass(frozen=True, slots=True)
class Classification:
    """What a set of answers got right. `classes` also holds the share that was no label at all."""

    accuracy: float
    invalid: float
    averages: Mapping[Average, Scores]
    classes: Mapping[str, Scores]
    counts: Mapping[str, int]
    confused: Sequence[tuple[str, str, int]]


def classify(expected: Sequence[str], found: Sequence[str | None]) -> Classification:
    """Score answers; None is no label, and wrong. Averages are over the labels that were expected.

    With single labels micro's precision and recall differ only by what was no label.
    """
    from sklearn.metrics import precision_recall_fscore_support

    labels = sorted(set(expected))
    said = [one if one is not None else INVALID for one in found]
    averages: dict[Average, Scores] = {}
    for average in ("micro", "macro", "weighted"):
        p, r, f, _ = precision_recall_fscore_support(
            expected, said, labels=labels, average=average, zero_division=0.0
        )
        averages[average] = Scores(float(p), float(r), float(f))
    p, r, f, counts = precision_recall_fscore_support(
        expected, said, labels=labels, average=None, zero_division=0.0
    )
    rows = zip(labels, p, r, f, strict=True)
    pairs = Counter((a, b) for a, b in zip(expected, said, strict=True) if a != b)
    return Classification(
        accuracy=sum(a == b for a, b in zip(expected, said, strict=True)) / len(expected),
        invalid=sum(one is None for one in found) / len(found),
        averages=averages,
        classes={name: Scores(float(x), float(y), float(z)) for name, x, y, z in rows},
        counts=dict(zip(labels, map(int, counts), strict=True)),
        confused=[(a, b, count) for (a, b), count in pairs.most_common()],
    )
