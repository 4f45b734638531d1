"""What the engine is told: the request's sampling, a name, and a prompt that can fit."""

from typing import Any

from service.answer.completion import CompletionRequest
from service.answer.releases import OpenRelease
from service.answer.request import ChatRequest
from service.engines.pool import Held
from service.errors import ContextLengthExceeded

Asked = ChatRequest | CompletionRequest


def payload_of(request: Asked, context: int) -> dict[str, Any]:
    """The request as it came; ContextLengthExceeded if nothing fits. Whoever is asked is named
    when an engine has been chosen."""
    payload = request.sampling()
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


def adapter_for(request: Asked, opened: OpenRelease) -> Held | None:
    """The release's adapter, unless it has none or the request does without."""
    return opened.adapter if request.dslm.adapter else None
