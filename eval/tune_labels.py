"""Solved examples whose answers repeat, as labels do: does an example's like have its answer?

What Dr.ICL's retriever gets without any language model. Each example is left out while it is
asked, with its group and its doubles.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from adapters.lookup import Lookup
from eval.stats import Share
from indexer.records import Demonstration, Vectors

_SHARED = 3  # examples with one answer make it a label
_FEWEST = 20
_COUNTS = (1, 2, 4, 8)


@dataclass(frozen=True, slots=True)
class LabelVote:
    """With so many demonstrations: how often the right label is among them, and wins the vote."""

    demonstrations: int
    among: Share
    voted: Share


def vote(lookup: Lookup) -> list[LabelVote]:
    """For several numbers of demonstrations; empty where too few answers repeat."""
    labelled = _labelled(lookup)
    if len(labelled) < _FEWEST:
        return []
    asked = lookup.ask([one.question for one in labelled])
    near = [
        _others(lookup, question.similar, one)
        for question, one in zip(asked, labelled, strict=True)
    ]
    return [_vote(k, labelled, near) for k in _COUNTS]


def _labelled(lookup: Lookup) -> list[Demonstration]:
    rows = lookup.retriever.snapshot.read(
        'SELECT id, question, answer, "group" FROM demonstrations ORDER BY row'
    )
    solved = [Demonstration(*row) for row in rows]
    shared = Counter(one.answer for one in solved)
    return [one for one in solved if shared[one.answer] >= _SHARED]


def _others(lookup: Lookup, similar: Vectors | None, one: Demonstration) -> list[str]:
    """The answers of its like, nearest first."""
    assert similar is not None
    found = lookup.retriever.demonstrations(similar, max(_COUNTS), exclude={one.id})
    return [other.answer for other in reversed(found)]


def _vote(k: int, labelled: Sequence[Demonstration], near: Sequence[list[str]]) -> LabelVote:
    pairs = [(one.answer, answers[:k]) for one, answers in zip(labelled, near, strict=True)]
    return LabelVote(
        k,
        Share.of(answer in answers for answer, answers in pairs),
        Share.of(answer == _winner(answers) for answer, answers in pairs),
    )


def _winner(answers: Sequence[str]) -> str:
    """The most frequent, of equals the nearest."""
    return Counter(answers).most_common(1)[0][0] if answers else ""
