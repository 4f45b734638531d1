"""Who asks, as far as it decides which of two releases answers: a caller, or a conversation.

The first of these that a request carries: `safety_identifier`, `user`, `metadata.conversation_id`
(or `thread_id`, `session_id`), `prompt_cache_key`; else the first user message, which stays the
same however long a conversation gets. Of a legacy completion: `user`, else its prompt.
"""

import hashlib

from service.answer.completion import CompletionRequest
from service.answer.request import ChatRequest

CONVERSATION = ("conversation_id", "thread_id", "session_id")


def affinity(request: ChatRequest | CompletionRequest) -> str:
    """The same for all requests that are to be answered by the same release."""
    if isinstance(request, CompletionRequest):
        return _named(("user", request.user)) or f"text:{_digest(repr(request.prompt))}"
    metadata = request.metadata or {}
    found = _named(
        ("user", request.safety_identifier),
        ("user", request.user),
        *(("conversation", metadata.get(name)) for name in CONVERSATION),
        ("conversation", request.prompt_cache_key),
    )
    return found or f"text:{_digest(_first(request))}"


def _named(*known: tuple[str, str | None]) -> str:
    """Kind and value of the first that is there and not empty."""
    return next((f"{kind}:{value}" for kind, value in known if value), "")


def _first(request: ChatRequest) -> str:
    said = (message.text() for message in request.messages if message.role == "user")
    return next(said, "")


def _digest(text: str) -> str:
    return hashlib.blake2b(text.encode(errors="replace"), digest_size=16).hexdigest()
