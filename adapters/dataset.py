"""Training rows: read from chat JSONL, composed as when serving, and turned into tokens.

A row is `{"messages": [..., user, assistant], "passages": [[sentence, ...], ...]}`; passages are
optional. Loss falls on the last answer only. Nothing here imports torch; the tokenizer comes in.
"""

from __future__ import annotations

import hashlib
import random
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final, Literal

from pydantic import BaseModel, Field, ValidationError

from adapters.manifest import TrainedWith
from adapters.prompt import Message, PromptFormat, compose
from indexer.errors import BadInput
from indexer.records import Passage, Sentence

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

_UNBOUNDED: Final = 1 << 40
_WINDOW: Final = 8


@dataclass(frozen=True, slots=True)
class Row:
    """One solved conversation; `place` is file:line."""

    place: str
    messages: tuple[Message, ...]
    answer: str
    passages: tuple[Passage, ...]


@dataclass(frozen=True, slots=True)
class Rendering:
    """How prompts are composed for a domain, and how they end for a base."""

    prompt_format: PromptFormat
    system: str
    refusal: str
    end_tokens: frozenset[int]


@dataclass(frozen=True, slots=True)
class TokenRow:
    """`tokens` of prompt and answer with its end token; the answer begins at `answer_start`."""

    tokens: tuple[int, ...]
    answer_start: int


class _Turn(BaseModel):
    role: Literal["system", "user", "assistant"]
    content: str


class _RowSchema(BaseModel):
    messages: list[_Turn] = Field(min_length=2)
    passages: list[list[str]] = []


def read_chat(path: Path) -> list[Row]:
    """Read a chat JSONL file; BadInput names file, line and field of what is wrong."""
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise BadInput(f"Cannot read the training rows {path} ({error})", "Check it") from error
    rows = [
        _read_row(f"{path}:{number}", line) for number, line in enumerate(lines, 1) if line.strip()
    ]
    if not rows:
        raise BadInput(f"{path} has no rows", "Write one JSON object with `messages` per line")
    return rows


def _read_row(place: str, line: str) -> Row:
    try:
        row = _RowSchema.model_validate_json(line)
    except ValidationError as error:
        reason = error.errors()[0]
        where = ".".join(str(part) for part in reason["loc"]) or "the line"
        raise BadInput(
            f"{place}: {where}: {reason['msg']}", "Write one JSON object with `messages` per line"
        ) from error
    *asked, answer = row.messages
    if asked[-1].role != "user" or answer.role != "assistant" or not answer.content.strip():
        raise BadInput(
            f"{place}: the row does not end with a user's question and an answer",
            "End `messages` with a user and a non-empty assistant message",
        )
    passages = [passage(place, rank, texts) for rank, texts in enumerate(row.passages)]
    messages = tuple({"role": turn.role, "content": turn.content} for turn in asked)
    return Row(place, messages, answer.content, tuple(passages))


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
        demonstrations=any(turn["role"] == "assistant" for row in rows for turn in row.messages),
        passages=any(row.passages for row in rows),
    )


def render(row: Row, rendering: Rendering, tokenizer: PreTrainedTokenizerBase) -> TokenRow:
    """Turn a row into the tokens that the engine would see and should then write.

    The prompt is composed by the same compose() and rendered by the same template as when serving.
    BadInput if the base's template does not let an answer follow its prompt token by token.
    """
    prompt = compose(
        rendering.prompt_format,
        row.messages,
        row.passages,
        (),
        rendering.system,
        _UNBOUNDED,
        lambda _: 0,
        0,
        rendering.refusal,
    )
    asked = _tokens(tokenizer, prompt.messages, opened=True)
    answer: Message = {"role": "assistant", "content": row.answer}
    solved = _tokens(tokenizer, (*prompt.messages, answer), opened=False)
    if solved[: len(asked)] != asked:
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


def _tokens(
    tokenizer: PreTrainedTokenizerBase, messages: Sequence[Message], *, opened: bool
) -> list[int]:
    encoded = tokenizer.apply_chat_template(
        list(messages), add_generation_prompt=opened, tokenize=True, return_dict=True
    )
    return list(encoded["input_ids"])


def batches(rows: Sequence[TokenRow], size: int, seed: int) -> Iterator[list[TokenRow]]:
    """Yield batches for ever, the same for the same seed; rows of like length go together."""
    order = random.Random(seed)
    while True:
        shuffled = order.sample(rows, len(rows))
        made: list[list[TokenRow]] = []
        for start in range(0, len(shuffled), size * _WINDOW):
            window = sorted(
                shuffled[start : start + size * _WINDOW], key=lambda row: len(row.tokens)
            )
            made += [window[at : at + size] for at in range(0, len(window), size)]
        order.shuffle(made)
        yield from made
