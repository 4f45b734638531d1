"""What a set of examples is like: its languages, labels and lengths, for a person to judge."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from typing import Final

from pydantic import BaseModel, ConfigDict

from adapters.rows.example import Example

_MOST_LABELS: Final = 500
_PER_LABEL: Final = 3
_LANGUAGE_LETTERS: Final = 40
_MANY: Final = 2_000


class LabelFacts(BaseModel):
    """Answers that repeat: how many there are, the rarest and the commonest with their counts."""

    model_config = ConfigDict(frozen=True)

    labels: int
    rarest: tuple[str, int]
    commonest: tuple[str, int]


class LengthFacts(BaseModel):
    """Tokens of whole rows as they will be trained; `over` of them exceed `limit`."""

    model_config = ConfigDict(frozen=True)

    median: int
    p95: int
    longest: int
    limit: int
    over: int


def languages(examples: Sequence[Example]) -> Counter[str]:
    """ISO 639-1 codes, with how many examples are in each; "?" where there is too little text.

    Of a large set some two thousand examples are looked at, evenly spread.
    """
    import py3langid

    found: Counter[str] = Counter()
    for example in examples[:: max(1, len(examples) // _MANY)]:
        letters = sum(map(str.isalpha, example.whole))
        found[py3langid.classify(example.whole)[0] if letters >= _LANGUAGE_LETTERS else "?"] += 1
    return found


def labels(examples: Sequence[Example]) -> LabelFacts | None:
    """None unless answers repeat as labels do: thrice or more on average."""
    answers = Counter(one.answer.strip() for one in examples if one.kind == "chat")
    total = answers.total()
    if not 2 <= len(answers) <= min(_MOST_LABELS, total // _PER_LABEL):
        return None
    ranked = sorted(answers.items(), key=lambda pair: (pair[1], pair[0]))
    return LabelFacts(labels=len(ranked), rarest=ranked[0], commonest=ranked[-1])


def lengths(
    examples: Sequence[Example], count: Callable[[Example], int], limit: int
) -> LengthFacts | None:
    """None without examples."""
    counted = sorted(map(count, examples))
    if not counted:
        return None
    return LengthFacts(
        median=counted[len(counted) // 2],
        p95=counted[int(0.95 * (len(counted) - 1))],
        longest=counted[-1],
        limit=limit,
        over=sum(tokens > limit for tokens in counted),
    )
