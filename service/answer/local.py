"""The shapes of answers: those that no engine wrote, and those of the engine made tidy."""

import time
import uuid
from typing import Any

from service.answer.relay import DONE, event


def completion(model: str, text: str, annotations: list[dict[str, Any]]) -> dict[str, Any]:
    """A chat completion of no tokens: none were spent."""
    message = {
        "role": "assistant",
        "content": text,
        "refusal": None,
        "annotations": annotations,
    }
    choice = {"index": 0, "message": message, "logprobs": None, "finish_reason": "stop"}
    usage = {"prompt_tokens": 0, "completion_tokens": 0, "total_tokens": 0}
    return {**_head("chat.completion", model), "choices": [choice], "usage": usage}


def stream(
    model: str,
    text: str,
    annotations: list[dict[str, Any]],
    dslm: dict[str, Any],
    include_usage: bool,
) -> bytes:
    """The same as server-sent events, all in one piece."""
    head = _head("chat.completion.chunk", model)
    deltas: list[tuple[dict[str, Any], str | None]] = [
        ({"role": "assistant", "content": ""}, None),
        ({"content": text}, None),
        ({"annotations": annotations}, "stop"),
    ]
    chunks = [
        {**head, "choices": [{"index": 0, "delta": d, "logprobs": None, "finish_reason": f}]}
        for d, f in deltas
    ]
    chunks[-1]["dslm"] = dslm
    if include_usage:
        usage = {"prompt_tokens": 0, "completion_tokens": 0, "total_tokens": 0}
        chunks.append({**head, "choices": [], "usage": usage})
    return b"".join(map(event, chunks)) + DONE


def tidy(reply: dict[str, Any]) -> dict[str, Any]:
    """Leave out what vLLM adds as null: OpenAI's schema knows no such fields."""
    for choice in reply["choices"]:
        choice["message"] = {
            key: value
            for key, value in choice["message"].items()
            if value is not None or key in ("content", "refusal")
        }
        for key in [k for k, v in choice.items() if v is None and k != "logprobs"]:
            del choice[key]
    usage = reply.get("usage") or {}
    reply["usage"] = {key: value for key, value in usage.items() if value is not None}
    return {key: value for key, value in reply.items() if value is not None}


def _head(kind: str, model: str) -> dict[str, Any]:
    return {
        "id": f"chatcmpl-{uuid.uuid4().hex}",
        "object": kind,
        "created": int(time.time()),
        "model": model,
    }
