"""What a report is made of: tables and sentences, and what is to be drawn. Values only."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

from eval.report import Grid


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
