"""Checks an answer's `[n]` markers against what was shown, and gives each its span."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote as percent

from adapters.prompt import REFUSAL_ID, Source, parse_citations


@dataclass(frozen=True, slots=True)
class Citations:
    """Annotations of one answer; `unknown`: markers that name nothing shown."""

    annotations: list[dict[str, Any]] = field(default_factory=list)
    unknown: list[int] = field(default_factory=list)
    refused: bool = False


def cite(text: str, sources: Sequence[Source], release: str, refusal: str) -> Citations:
    """Annotate `text`, said by `release` (`domain@N`); a marker without a source is unknown."""
    by_id = {source.id: source for source in sources}
    found = parse_citations(text)
    return Citations(
        annotations=[
            annotation(by_id[number], start, end, text, release)
            for number, start, end in found
            if number in by_id
        ],
        unknown=[n for n, _, _ in found if n not in by_id and n != REFUSAL_ID],
        refused=is_refusal(text, refusal),
    )


def is_refusal(text: str, refusal: str) -> bool:
    """Does the answer say that the documents do not say?"""
    return text.strip().removeprefix(f"[{REFUSAL_ID}]").strip() == refusal


def annotation(source: Source, start: int, end: int, text: str, release: str) -> dict[str, Any]:
    """OpenAI's `url_citation` with the span besides: `text[start:end]` of the document is `quote`.

    `exact`: the quote stands word for word right behind its marker.
    """
    passage = source.passage
    # The release's own documents: after the next index the span may hold other words.
    path = f"/v1/domains/{release}/documents/{percent(passage.document)}"
    return {
        "type": "url_citation",
        "url_citation": {
            "start_index": start,
            "end_index": end,
            "title": passage.title,
            "url": f"{path}?start={source.start}&end={source.end}",
        },
        "document": passage.document,
        "chunk": passage.chunk,
        "start": source.start,
        "end": source.end,
        "quote": source.quote,
        "exact": text[end:].lstrip().startswith(source.quote),
    }


def merged(parts: Mapping[int, Citations]) -> dict[str, Any]:
    """What the `dslm` object says of all choices together."""
    unknown = sorted({number for part in parts.values() for number in part.unknown})
    refused = bool(parts) and all(part.refused for part in parts.values())
    return {"refused": refused, **({"unknown_citations": unknown} if unknown else {})}
