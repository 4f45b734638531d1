"""The shapes of answers: those that no engine wrote, and those of the engine made tidy."""

import time
import uuid
from dataclasses import dataclass, field
from typing import Any

from adapters.prompt import REFUSAL_ID, Source
from indexer.search.quoting import Quote
from service.answer.citations import annotation
from service.answer.relay import DONE, ENDINGS, event, shape_logprobs
from service.answer.releases import OpenRelease
from service.errors import Unavailable


@dataclass(frozen=True, slots=True)
class LocalAnswer:
    """An answer that needs no engine.

    `refused`: the documents do not say. Where a form was asked for that prose would break, the
    text stands in OpenAI's `refusal` and the content is null: `as_refusal`.
    """

    text: str
    annotations: list[dict[str, Any]]
    refused: bool
    as_refusal: bool = False
    id: str = field(default_factory=lambda: f"chatcmpl-{uuid.uuid4().hex}", compare=False)

    def message(self) -> dict[str, Any]:
        """The message, or all of its deltas in one, without a role."""
        said = None if self.as_refusal else self.text
        return {"content": said, "refusal": self.text if self.as_refusal else None}


def refusal(opened: OpenRelease, *, as_refusal: bool = False) -> LocalAnswer:
    """The documents do not say: in the words of the release."""
    said = opened.release.refusal
    text = said if as_refusal else f"[{REFUSAL_ID}] {said}"
    return LocalAnswer(text, [], refused=True, as_refusal=as_refusal)


def quotation(opened: OpenRelease, quotes: list[Quote]) -> LocalAnswer:
    """The sentences themselves, each behind its marker."""
    if not quotes:
        return refusal(opened)
    text, annotations = "", []
    for number, quote in enumerate(quotes, start=1):
        marker, at = f"[{number}]", len(text)
        said = quote.text
        text += f"{marker} {said}\n"
        source = Source(number, quote.passage, quote.sentence.start, quote.sentence.end, said)
        span = (at, at + len(marker))
        annotations.append(annotation(source, *span, text, opened.label))
    return LocalAnswer(text.rstrip("\n"), annotations, refused=False)


def completion(model: str, answer: LocalAnswer, choices: int) -> dict[str, Any]:
    """A chat completion of no tokens: none were spent."""
    message = {"role": "assistant", **answer.message(), "annotations": answer.annotations}
    whole = [
        {"index": index, "message": message, "logprobs": None, "finish_reason": "stop"}
        for index in range(choices)
    ]
    return {**_head("chat.completion", model, answer.id), "choices": whole, "usage": _no_usage()}


def stream(
    model: str, answer: LocalAnswer, dslm: dict[str, Any], choices: int, include_usage: bool
) -> bytes:
    """The same as server-sent events, all in one piece."""
    head = _head("chat.completion.chunk", model, answer.id)
    said = {key: value for key, value in answer.message().items() if value is not None}
    deltas: list[tuple[dict[str, Any], str | None]] = [
        ({"role": "assistant", "content": ""}, None),
        (said, None),
        ({"annotations": answer.annotations}, "stop"),
    ]
    chunks: list[dict[str, Any]] = [
        {**head, "choices": [{"index": i, "delta": d, "logprobs": None, "finish_reason": f}]}
        for i in range(choices)
        for d, f in deltas
    ]
    chunks[-1]["dslm"] = dslm
    if include_usage:
        chunks = [{**chunk, "usage": None} for chunk in chunks]
        chunks.append({**head, "choices": [], "usage": _no_usage()})
    return b"".join(map(event, chunks)) + DONE


def tidy(reply: dict[str, Any]) -> dict[str, Any]:
    """Leave out what vLLM adds as null: OpenAI's schema knows no such fields."""
    for choice in reply["choices"]:
        if choice["finish_reason"] not in ENDINGS:
            raise Unavailable(f"The engine ended the answer: {choice['finish_reason']}")
        if "message" in choice:
            choice["message"] = {
                key: value
                for key, value in choice["message"].items()
                if value is not None or key in ("content", "refusal")
            }
            choice["message"].setdefault("refusal", None)
        for key in [k for k, v in choice.items() if v is None]:
            del choice[key]
        choice.setdefault("logprobs", None)
        shape_logprobs(choice)
    usage = reply.get("usage") or {}
    reply["usage"] = {key: value for key, value in usage.items() if value is not None}
    return {key: value for key, value in reply.items() if value is not None}


def _no_usage() -> dict[str, int]:
    return {"prompt_tokens": 0, "completion_tokens": 0, "total_tokens": 0}


def _head(kind: str, model: str, name: str) -> dict[str, Any]:
    return {
        "id": name,
        "object": kind,
        "created": int(time.time()),
        "model": model,
    }
