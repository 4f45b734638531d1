"""From a conversation and what was found to the messages that the engine gets.

`adapters.prompt` composes texts; the turns that hold more than a text (calls of tools, their
results, names) are put back in their places here, and what comes after the question is kept whole.
"""

from typing import Any

from adapters.errors import PromptTooLong
from adapters.prompt import Prompt, compose
from adapters.release import Release
from adapters.templates import THINKING, without_system
from service.answer.checks import Checks
from service.answer.messages import Message
from service.answer.request import ChatRequest
from service.answer.retrieval import Found
from service.answer.tokens import Tokens

Turns = list[dict[str, Any]]
AROUND_TOOLS = 64  # tokens of instruction that templates write around a list of tools


class Composer:
    """Composes for one base: its context in tokens and its way of counting them."""

    def __init__(self, tokens: Tokens, context: int, checks: Checks) -> None:
        self._tokens = tokens
        self._context = context
        self._checks = checks

    def compose(self, request: ChatRequest, release: Release, found: Found) -> tuple[Prompt, Turns]:
        """The prompt and its messages. ContextLengthExceeded names what does not fit."""
        limit = request.limit() or release.max_tokens
        turns, calls = request.conversation(), request.calls()
        around = self._around(request, calls)
        try:
            prompt = compose(
                release.prompt_format,
                [{"role": _role(turn), "content": turn.rendered()} for turn in turns],
                found.passages,
                found.demonstrations,
                release.system,
                max(0, self._context - limit - around),
                self._tokens.count,
                self._tokens.per_message,
                release.refusal,
            )
        except PromptTooLong as error:
            raise self._checks.too_long(error.tokens + around, limit) from error
        if found.passages and not prompt.sources:
            tokens = self._tokens.count(request.question()) + around
            raise self._checks.too_long(tokens, limit)
        whole = _whole(prompt, turns)
        if not self._tokens.takes_system:
            whole = without_system(whole)
        return prompt, [*whole, *(call.for_engine() for call in calls)]

    def told(self, payload: dict[str, Any]) -> dict[str, Any]:
        """The payload with what its template is told: no base thinks aloud unless a caller says."""
        if not self._tokens.template_names(THINKING):
            return payload
        given = payload.get("chat_template_kwargs") or {}
        return {**payload, "chat_template_kwargs": {THINKING: False, **given}}

    def _around(self, request: ChatRequest, calls: list[Message]) -> int:
        """Tokens of what `compose` does not see."""
        per_message, count = self._tokens.per_message, self._tokens.count
        tokens = sum(per_message + count(call.rendered()) for call in calls)
        tools = request.tools_text()
        return tokens + count(tools) + AROUND_TOOLS if tools else tokens


def _whole(prompt: Prompt, turns: list[Message]) -> Turns:
    """The composed messages, earlier turns replaced by the whole turns that they were made of.

    Of the conversation `compose` keeps the end, between the demonstrations and the question.
    """
    composed: Turns = [dict(message) for message in prompt.messages]
    earlier = [turn for turn in turns[:-1] if _role(turn) != "system"]
    first = int(composed[0]["role"] == "system") + 2 * len(prompt.demonstrations)
    kept = len(composed) - 1 - first
    if kept:
        composed[first:-1] = [turn.for_engine() for turn in earlier[-kept:]]
    if turns[-1].name:
        composed[-1]["name"] = turns[-1].name
    return composed


def _role(turn: Message) -> str:
    return "system" if turn.role == "developer" else turn.role
