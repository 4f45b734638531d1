"""What a training row is, and the ``sentences`` prompt layout it is written in."""

import random
from collections.abc import Sequence
from dataclasses import dataclass, field

from deploy.demo.base.vocabulary import MAX_ID

REFUSAL = "[0] The documents do not say."
Message = dict[str, str]
Passages = list[list[str]]


@dataclass(frozen=True)
class Row:
    """A conversation, which of its answers are learned, and what is known about its sentences.

    ``question`` is worded like the documents, also where the conversation asks in other words.
    """

    messages: list[Message]
    learned: list[int]
    question: str = ""
    sentences: list[str] = field(default_factory=list)
    numbers: list[int] = field(default_factory=list)
    gold: int | None = None
    unjudged: frozenset[int] = frozenset()


@dataclass(frozen=True)
class Case:
    """A question about passages, the sentence that answers it, and others that also might.

    ``wording`` is the question, if it differs, as the documents would word it.
    """

    question: str
    passages: Passages
    gold: str | None
    alike: tuple[str, ...] = ()
    reworded: bool = False
    wording: str = ""


@dataclass(frozen=True)
class Size:
    """How large the rows of a stage are."""

    least: int
    most: int
    turns: float = 0.25


def user(content: str) -> Message:
    """A user's turn."""
    return {"role": "user", "content": content}


def assistant(content: str) -> Message:
    """An assistant's turn."""
    return {"role": "assistant", "content": content}


def flat(passages: Passages) -> list[str]:
    """All sentences in reading order."""
    return [sentence for passage in passages for sentence in passage]


def without(passages: Passages, dropped: list[str]) -> Passages:
    """The passages less some sentences; none is left empty."""
    left = [[text for text in passage if text not in dropped] for passage in passages]
    return [passage for passage in left if passage]


def fitting(passages: Passages, gold: str | None) -> Passages:
    """As many passages as there are numbers for their sentences, the answer's among them."""
    kept = list(passages)
    while len(flat(kept)) > MAX_ID:
        spare = [i for i, passage in enumerate(kept) if gold not in passage]
        if not spare:
            return []
        del kept[spare[-1]]
    return kept


def render(question: str, passages: Passages, numbers: Sequence[int]) -> str:
    """The user turn: the question, one passage a line, the question again."""
    left = iter(numbers)
    lines = []
    for passage in passages:
        marked = [(next(left), sentence) for sentence in passage]
        lines.append("".join(f"[{n}] {sentence}[/{n}]" for n, sentence in marked))
    documents = "\n".join(lines)
    return f"Question: {question}\nDocuments:\n{documents}\nQuestion: {question}"


def sentence_numbers(rng: random.Random, count: int) -> list[int]:
    """Mostly 1, 2, 3 as when served; otherwise any, so that every number is learned."""
    kind = rng.random()
    if kind < 0.5:
        return list(range(1, count + 1))
    chosen = rng.sample(range(1, MAX_ID + 1), count)
    return sorted(chosen) if kind < 0.75 else chosen


def document_row(
    rng: random.Random,
    question: str,
    passages: Passages,
    gold: str | None,
    before: Sequence[Message] = (),
    unjudged: Sequence[str] = (),
    wording: str = "",
) -> Row:
    """The row that asks a question about passages; without a gold sentence it is refused."""
    sentences = flat(passages)
    numbers = sentence_numbers(rng, len(sentences))
    place = None if gold is None else sentences.index(gold)
    answer = REFUSAL if place is None else f"[{numbers[place]}] {gold}"
    messages = [*before, user(render(question, passages, numbers)), assistant(answer)]
    skipped = frozenset(i for i, sentence in enumerate(sentences) if sentence in set(unjudged))
    return Row(
        messages, [len(messages) - 1], wording or question, sentences, numbers, place, skipped
    )
