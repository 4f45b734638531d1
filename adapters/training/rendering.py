"""Rows to tokens: composed as when serving, in the base's own template, the answer marked.

Loss falls on the answer only, its end token included; of a plain text on everything. Nothing here
imports torch; the tokenizer comes in.
"""

from __future__ import annotations

import hashlib
import random
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final, TypeVar

from adapters.manifest import TrainedWith
from adapters.prompt import Count, Message, Prompt, PromptFormat, compose
from adapters.rows.example import Example, Fault
from adapters.rows.faults import fault_of
from adapters.rows.reading import read_examples
from adapters.templates import answered, encoded
from indexer.errors import BadInput
from indexer.records import Demonstration, Passage, Sentence

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

_UNBOUNDED: Final = 1 << 40
_WINDOW: Final = 8


def free(text: str) -> int:
    """Costs nothing, where no budget is kept."""
    return 0


@dataclass(frozen=True, slots=True)
class Row:
    """One solved question as it will be posed; a plain text has no messages. `place` is file:line.

    `worse` is the answer that a preference turns down.
    """

    place: str
    messages: tuple[Message, ...]
    answer: str
    passages: tuple[Passage, ...] = ()
    demonstrations: tuple[Demonstration, ...] = ()
    worse: str = ""
    id: str = ""
    group: str = ""


@dataclass(frozen=True, slots=True)
class Rendering:
    """How prompts are composed for a domain, in how many tokens, and how they end for a base."""

    prompt_format: PromptFormat
    system: str
    refusal: str
    end_tokens: frozenset[int]
    budget: int = _UNBOUNDED
    count: Count = free
    per_message: int = 0


@dataclass(frozen=True, slots=True)
class TokenRow:
    """`tokens` of prompt and answer with its end token; the answer begins at `answer_start`."""

    tokens: tuple[int, ...]
    answer_start: int


def read_rows(path: Path) -> list[Row]:
    """Read training rows; BadInput names file, line and field of what is wrong."""
    rows = [_row(path, found) for found in read_examples(path)]
    if not rows:
        raise BadInput(f"{path} has no rows", "Write one JSON object with `messages` per line")
    return rows


def _row(path: Path, found: Example | Fault) -> Row:
    fault = found if isinstance(found, Fault) else fault_of(found)
    if fault:
        raise BadInput(
            f"{path.parent / fault.place}: {fault.reason}",
            f"Correct it, or leave it out by `dslm data prepare {path}`",
        )
    assert isinstance(found, Example)
    shown = [passage(found.place, at, texts) for at, texts in enumerate(found.passages)]
    return Row(
        found.place,
        found.turns,
        found.answer,
        tuple(shown),
        worse=found.worse,
        id=found.id,
        group=found.group,
    )


def passage(place: str, rank: int, texts: Sequence[str]) -> Passage:
    """A passage that holds these sentences; earlier ones score higher, so the order stays."""
    spans: list[Sentence] = []
    at = 0
    for text in texts:
        spans.append(Sentence(at, at + len(text)))
        at += len(text) + 1
    text, score = "\n".join(texts), 1 / (rank + 1)
    return Passage(f"{place}#{rank}", place, "", (), 0, text, tuple(spans), score)


def dataset_digest(path: Path) -> str:
    """Name the rows by their bytes."""
    return hashlib.sha256(path.read_bytes()).hexdigest()


def trained_with(rows: Iterable[Row]) -> TrainedWith:
    """Which parts of the prompt these rows carry; an earlier answer counts as a demonstration."""
    rows = list(rows)
    return TrainedWith(
        demonstrations=any(
            row.demonstrations or any(turn["role"] == "assistant" for turn in row.messages)
            for row in rows
        ),
        passages=any(row.passages for row in rows),
    )


def render(row: Row, rendering: Rendering, tokenizer: PreTrainedTokenizerBase) -> TokenRow:
    """Turn a row into the tokens that the engine would see and should then write.

    The prompt is composed by the same compose() and rendered by the same template as when serving.
    BadInput if the base's template does not let an answer follow its prompt token by token.
    """
    prompt = posed(row, rendering)
    asked = encoded(tokenizer, prompt.messages, opened=True)
    answer: Message = {"role": "assistant", "content": row.answer}
    given = encoded(tokenizer, (*prompt.messages, answer), opened=False)
    solved = answered(tokenizer, asked, given)
    if solved is None:
        raise BadInput(
            f"{row.place}: the base's chat template renders a question differently once answered",
            "Use a base whose template only appends the answer",
        )
    begin = tokenizer.bos_token_id
    if begin not in rendering.end_tokens and solved.count(begin) > 1:
        raise BadInput(
            f"{row.place}: the prompt holds {solved.count(begin)} begin tokens",
            f"Remove {tokenizer.bos_token} from the row's text",
        )
    ends = [at for at in range(len(asked), len(solved)) if solved[at] in rendering.end_tokens]
    if not ends or ends[-1] == len(asked):
        raise BadInput(
            f"{row.place}: the base's chat template does not end an answer with its end token",
            "An adapter trained so would never stop; use a base whose template does",
        )
    return TokenRow(tuple(solved[: ends[-1] + 1]), len(asked))


def posed(row: Row, rendering: Rendering) -> Prompt:
    """The messages that the service would send for this row's question."""
    return compose(
        rendering.prompt_format,
        row.messages,
        row.passages,
        row.demonstrations,
        rendering.system,
        rendering.budget,
        rendering.count,
        rendering.per_message,
        rendering.refusal,
    )


def windows(row: Row, end: int, tokenizer: PreTrainedTokenizerBase, limit: int) -> list[TokenRow]:
    """A plain text in pieces of at most `limit` tokens, each after the one before; all learned."""
    tokens = [*tokenizer.encode(row.answer), end]
    pieces = [tokens[at : at + limit] for at in range(0, len(tokens), limit)]
    return [TokenRow(tuple(piece), 1) for piece in pieces if len(piece) > 1]


Lesson = TypeVar("Lesson", bound=tuple[TokenRow, ...])


def batches(lessons: Sequence[Lesson], size: int, seed: int) -> Iterator[list[Lesson]]:
    """Yield batches for ever, the same for the same seed; lessons of like length go together."""
    order = random.Random(seed)
    while True:
        shuffled = order.sample(lessons, len(lessons))
        made: list[list[Lesson]] = []
        for start in range(0, len(shuffled), size * _WINDOW):
            window = sorted(
                shuffled[start : start + size * _WINDOW],
                key=lambda lesson: sum(len(row.tokens) for row in lesson),
            )
            made += [window[at : at + size] for at in range(0, len(window), size)]
        order.shuffle(made)
        yield from made
