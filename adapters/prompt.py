"""Prompt formats and `compose()`: the one place that turns a question into messages.

Training renders its rows and the service its requests through the same function, so an adapter
meets the prompt it was trained on. What comes out are messages, not text: the chat template is
applied by the engine when serving and by the tokenizer when training. Nothing here reads files,
counts tokens itself or knows which base answers.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, TypeVar

from adapters.documents import FORMATS as FORMATS
from adapters.documents import PromptFormat as PromptFormat
from adapters.documents import rendered
from adapters.errors import PromptTooLong
from adapters.markers import parse_citations as parse_citations
from indexer.errors import BadInput
from indexer.records import Demonstration, Passage

MAX_SENTENCES: Final = 32
REFUSAL_ID: Final = 0

Count = Callable[[str], int]
Message = dict[str, str]
Piece = TypeVar("Piece")


@dataclass(frozen=True, slots=True)
class Source:
    """A span of a document the answer may cite as `[id]`; offsets are into the document's text."""

    id: int
    passage: Passage
    start: int
    end: int
    quote: str


@dataclass(frozen=True, slots=True)
class Prompt:
    """The composed messages, and which pieces they hold."""

    messages: tuple[Message, ...]
    sources: tuple[Source, ...]
    demonstrations: tuple[Demonstration, ...]
    tokens: int
    choices: tuple[str, ...]


def compose(
    prompt_format: PromptFormat,
    messages: Sequence[Mapping[str, str]],
    passages: Sequence[Passage],
    demonstrations: Sequence[Demonstration],
    system: str,
    budget: int,
    count: Count,
    per_message: int,
    refusal: str,
) -> Prompt:
    """Compose the messages of one request within `budget` tokens; pure.

    `demonstrations` come most similar last, as they are shown (Dr.ICL, arXiv 2305.14128). Whole
    pieces are dropped to fit, in this order of worth: system message, question, earlier
    conversation (newest first), demonstrations (most similar first), passages (best first,
    as they are given).
    A message costs `count(content) + per_message` tokens, and `per_message` once more pays for
    the turn that the engine opens. Raises PromptTooLong if system and question do not fit.
    """

    def cost(*pieces: Message) -> int:
        return sum(per_message + count(piece["content"]) for piece in pieces)

    head, earlier, question = _parts(messages, system)
    final = _turn("user", question)
    tokens = per_message + cost(*head, final)
    if tokens > budget:
        raise PromptTooLong(tokens, budget)
    exchanges, tokens = _keep(earlier[::-1], tokens, budget, lambda turns: cost(*turns))
    shown, tokens = _keep(demonstrations[::-1], tokens, budget, lambda one: cost(*_solved(one)))
    room = budget - tokens + cost(final)
    ranked = _numberable(prompt_format, passages)
    while ranked and cost(_with_documents(prompt_format, question, ranked)) > room:
        ranked.pop()
    if ranked:
        tokens -= cost(final)
        final = _with_documents(prompt_format, question, ranked)
        tokens += cost(final)
    solved = [turn for one in shown[::-1] for turn in _solved(one)]
    conversation = [turn for turns in exchanges[::-1] for turn in turns]
    sources = _number(prompt_format, ranked)
    return Prompt(
        messages=(*head, *solved, *conversation, final),
        sources=sources,
        demonstrations=tuple(shown[::-1]),
        tokens=tokens,
        choices=_choices(prompt_format, sources, refusal),
    )


def _turn(role: str, content: str) -> Message:
    return {"role": role, "content": content}


def _solved(demonstration: Demonstration) -> list[Message]:
    return [_turn("user", demonstration.question), _turn("assistant", demonstration.answer)]


def _parts(
    messages: Sequence[Mapping[str, str]], system: str
) -> tuple[list[Message], list[list[Message]], str]:
    """Split a conversation into system message, earlier exchanges (oldest first) and question."""
    turns = [_turn(one["role"], one["content"]) for one in messages if one["role"] != "system"]
    if not turns or turns[-1]["role"] != "user":
        raise BadInput("The last message is not the user's", "End `messages` with a user message")
    own = [one["content"] for one in messages if one["role"] == "system"]
    text = "\n\n".join(own) or system
    head = [_turn("system", text)] if text else []
    return head, _exchanges(turns[:-1]), turns[-1]["content"]


def _exchanges(turns: list[Message]) -> list[list[Message]]:
    """Group turns so that each group opens with a user turn: templates want roles to alternate."""
    groups: list[list[Message]] = []
    for turn in turns:
        if turn["role"] == "user" or not groups:
            groups.append([])
        groups[-1].append(turn)
    return groups


def _keep(
    pieces: Sequence[Piece], tokens: int, budget: int, cost: Callable[[Piece], int]
) -> tuple[list[Piece], int]:
    """Keep the pieces, worthiest first, up to the first that exceeds the budget."""
    kept: list[Piece] = []
    for piece in pieces:
        more = cost(piece)
        if tokens + more > budget:
            break
        kept.append(piece)
        tokens += more
    return kept, tokens


def _numberable(prompt_format: PromptFormat, passages: Sequence[Passage]) -> list[Passage]:
    """Passages in the retriever's order, without those whose sentences no id is left for."""
    if prompt_format != "sentences":
        return list(passages[:MAX_SENTENCES])
    kept: list[Passage] = []
    free = MAX_SENTENCES
    for passage in passages:
        if 0 < len(passage.sentences) <= free:
            kept.append(passage)
            free -= len(passage.sentences)
    return kept


def _number(prompt_format: PromptFormat, passages: Sequence[Passage]) -> tuple[Source, ...]:
    """Give ids 1..n to every citable span, in the order shown."""
    spans = [span for passage in passages for span in _spans(prompt_format, passage)]
    return tuple(Source(index, *span) for index, span in enumerate(spans, start=1))


def _spans(prompt_format: PromptFormat, passage: Passage) -> list[tuple[Passage, int, int, str]]:
    if prompt_format != "sentences":
        return [(passage, passage.start, passage.start + len(passage.text), passage.text)]
    texts = passage.sentence_texts()
    pairs = zip(passage.sentences, texts, strict=True)
    return [(passage, sentence.start, sentence.end, text) for sentence, text in pairs]


def _with_documents(
    prompt_format: PromptFormat, question: str, passages: Sequence[Passage]
) -> Message:
    """The final user message; the question stands first, to be read for, and last, to be answered.

    With the question first, the tokens of a document can already attend to its words.
    """
    asked = question.strip()
    documents = rendered(prompt_format, passages)
    return _turn("user", f"Question: {asked}\n{documents}\nQuestion: {asked}")


def _choices(
    prompt_format: PromptFormat, sources: Sequence[Source], refusal: str
) -> tuple[str, ...]:
    """Everything a `verbatim` answer may say: one marked sentence, or the refusal."""
    quotes = [
        (source.id, quote)
        for source in sources
        for quote in (
            [source.quote] if prompt_format == "sentences" else source.passage.sentence_texts()
        )
    ]
    said = [f"[{n}] {quote}" for n, quote in quotes]
    return (*dict.fromkeys(said), f"[{REFUSAL_ID}] {refusal}")
