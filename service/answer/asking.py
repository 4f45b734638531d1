"""What is looked up for the last question of a conversation: built from its turns, or rewritten.

The rewriting is only ever searched with; the question that is answered stays the user's own.
"""

import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Any

from indexer.domain import RetrievalSettings
from indexer.search.conversation import Turn, search_text, stands_alone
from service.answer.opened import OpenRelease
from service.answer.request import ChatRequest
from service.errors import ServiceError

Ask = Callable[[dict[str, Any]], Awaitable[dict[str, Any]]]
LONGEST_REWRITING = 96  # tokens
LONGEST_TURN = 600  # characters of a turn that are shown for rewriting
TURNS = 6
ORDER = (
    "Write the last question of this conversation once more, so that it can be understood without"
    " the conversation. Write only the question.\n\n"
)


@dataclass(frozen=True, slots=True)
class Sought:
    """The text to look up; `rewritten`: an engine wrote it, which took `seconds`."""

    text: str
    rewritten: bool = False
    seconds: float = 0.0


UNASKED = Sought("")


async def sought_for(request: ChatRequest, opened: OpenRelease, ask: Ask | None) -> Sought:
    """As the release's `history` and `rewrite` say; `ask` is None where no engine answers now."""
    settings, turns = opened.release.retrieval, turns_of(request)
    text = search_text(turns, settings.history)
    if ask is None or not _is_rewritten(request, settings, turns):
        return Sought(text)
    began = time.perf_counter()
    said = await _rewritten(turns, ask)
    return Sought(said or text, bool(said), time.perf_counter() - began)


def turns_of(request: ChatRequest) -> list[Turn]:
    """What was said up to the question; neither orders nor tools are looked up."""
    return [
        ("user" if message.role == "user" else "assistant", message.text())
        for message in request.conversation()
        if message.role in ("user", "assistant")
    ]


def _is_rewritten(request: ChatRequest, settings: RetrievalSettings, turns: Sequence[Turn]) -> bool:
    """Where something is looked up, and the question is not all that was said."""
    if not settings.rewrite or settings.history == "none" or len(turns) < 2:
        return False
    looked_up = request.dslm.passages or request.dslm.demonstrations
    return looked_up and not (settings.history == "auto" and stands_alone(turns[-1][1]))


async def _rewritten(turns: list[Turn], ask: Ask) -> str:
    """Empty where the engine has nothing to say: the search must not fail with it."""
    shown = "\n".join(f"{role}: {text[:LONGEST_TURN]}" for role, text in turns[-TURNS:])
    payload = {
        "messages": [{"role": "user", "content": ORDER + shown}],
        "max_tokens": LONGEST_REWRITING,
        "temperature": 0.0,
    }
    try:
        reply = await ask(payload)
    except ServiceError:
        return ""
    return " ".join((reply["choices"][0]["message"].get("content") or "").split())
