"""What the engine is told: the request's sampling, a name, and a prompt that can fit."""

from typing import Any

from service.answer.completion import CompletionRequest
from service.answer.releases import OpenRelease
from service.answer.request import ChatRequest
from service.engines.command import BASE_NAME
from service.errors import ContextLengthExceeded

Asked = ChatRequest | CompletionRequest


def payload_of(request: Asked, name: str, context: int) -> dict[str, Any]:
    """The request as it came, for the engine's `name`; ContextLengthExceeded if nothing fits."""
    payload = {"model": name, **request.sampling()}
    if isinstance(request, ChatRequest):
        payload["messages"] = request.plain_messages()
    else:
        payload["prompt"] = request.prompt
    limit = request.limit()
    if limit and limit >= context:
        raise ContextLengthExceeded(
            f"max_tokens = {limit} leaves no room in this base's context of {context}",
            "Lower max_tokens",
            param=request.limit_name(),
        )
    return payload if limit is None else {**payload, "max_tokens": limit}


def engine_name(request: Asked, opened: OpenRelease) -> str:
    """What the engine calls the domain's adapter, or the base if there is none."""
    wanted = opened.adapter and request.dslm.adapter
    return opened.adapter.engine_name() if opened.adapter and wanted else BASE_NAME
