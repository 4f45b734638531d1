"""What an answer's `[n]` lead to: each marker's document and span, as annotations."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote as percent

from adapters.prompt import REFUSAL_ID, Source
from service.answer.markers import Markers


@dataclass(frozen=True, slots=True)
class Citations:
    """One answer as it is passed on; `unknown`: markers that named nothing shown, taken out."""

    text: str = ""
    annotations: list[dict[str, Any]] = field(default_factory=list)
    unknown: list[int] = field(default_factory=list)
    refused: bool = False


def cite(markers: Markers, sources: Sequence[Source], release: str, refusal: str) -> Citations:
    """What the answer that `markers` followed cites; said by `release` (`domain@N`)."""
    text = markers.text
    by_id = {source.id: source for source in sources}
    return Citations(
        text=text,
        annotations=[
            annotation(by_id[number], start, end, text, release)
            for number, start, end in markers.found
        ],
        unknown=markers.unknown,
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
