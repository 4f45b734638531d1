"""What an endpoint answered, as typed records. Pure: the client fetches, this reads."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, slots=True)
class Citation:
    """`quote` is `[start, end)` of the document's text; `marker` its place in the answer's."""

    document: str
    chunk: str
    start: int
    end: int
    quote: str
    marker: tuple[int, int] = (0, 0)


@dataclass(frozen=True, slots=True)
class Answer:
    """One whole answer; `dslm` is empty where the endpoint is not ours."""

    text: str
    citations: tuple[Citation, ...]
    dslm: Mapping[str, Any]
    finish_reason: str | None
    seconds: float
    pieces: tuple[str, ...] = field(default=(), compare=False)
    tokens_in: int = 0
    tokens_out: int = 0


@dataclass(frozen=True, slots=True)
class Piece:
    """What one SSE event added; the last one carries reason, citations and `dslm`."""

    text: str
    finish_reason: str | None
    citations: tuple[Citation, ...]
    dslm: Mapping[str, Any]


def read_answer(reply: Mapping[str, Any], seconds: float) -> Answer:
    """An OpenAI chat completion as an Answer; ours carry citations and `dslm`."""
    choice = reply["choices"][0]
    message = choice["message"]
    return Answer(
        text=message.get("content") or "",
        citations=read_citations(message.get("annotations")),
        dslm=reply.get("dslm") or {},
        finish_reason=choice.get("finish_reason"),
        seconds=seconds,
        tokens_in=(reply.get("usage") or {}).get("prompt_tokens") or 0,
        tokens_out=(reply.get("usage") or {}).get("completion_tokens") or 0,
    )


def read_citations(annotations: Sequence[Mapping[str, Any]] | None) -> tuple[Citation, ...]:
    """Annotations without a document (another vendor's) are passed over."""
    return tuple(
        Citation(a["document"], a.get("chunk", ""), a["start"], a["end"], a["quote"], _marker(a))
        for a in annotations or ()
        if "document" in a
    )


def _marker(annotation: Mapping[str, Any]) -> tuple[int, int]:
    cited = annotation.get("url_citation") or {}
    return cited.get("start_index", 0), cited.get("end_index", 0)


def read_piece(event: Mapping[str, Any]) -> Piece:
    """One SSE event; the usage event has no choices and adds nothing."""
    choices = event.get("choices") or [{}]
    delta = choices[0].get("delta") or {}
    return Piece(
        text=delta.get("content") or "",
        finish_reason=choices[0].get("finish_reason"),
        citations=read_citations(delta.get("annotations")),
        dslm=event.get("dslm") or {},
    )


def gather_pieces(pieces: Sequence[Piece], seconds: float) -> Answer:
    """The answer that the pieces of a whole stream make up."""
    last: dict[str, Any] = {}
    for piece in pieces:
        last |= piece.dslm
    return Answer(
        text="".join(p.text for p in pieces),
        citations=tuple(c for p in pieces for c in p.citations),
        dslm=last,
        finish_reason=next((p.finish_reason for p in pieces if p.finish_reason), None),
        seconds=seconds,
        pieces=tuple(p.text for p in pieces if p.text),
    )
