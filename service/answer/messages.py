"""The turns of a conversation, as OpenAI's clients send them and as an engine takes them."""

from typing import Annotated, Any, Literal

import orjson
from pydantic import ConfigDict, Field, model_validator

from service.answer.body import Body
from service.errors import InvalidRequest


class TextPart(Body):
    type: Literal["text"]
    text: str


class RefusalPart(Body):
    type: Literal["refusal"]
    refusal: str


class Sent(Body):
    """Part of an answer that comes back as an earlier turn: what clients add to it is no order."""

    model_config = ConfigDict(extra="ignore")


class CalledFunction(Sent):
    name: str
    arguments: str


class ToolCall(Sent):
    id: str
    type: Literal["function"]
    function: CalledFunction


Part = Annotated[TextPart | RefusalPart, Field(discriminator="type")]


class Message(Body):
    """One turn. Content parts may be text only, and are joined."""

    role: Literal["system", "developer", "user", "assistant", "tool"]
    content: str | Annotated[list[Part], Field(min_length=1)] | None = None
    name: str | None = None
    tool_calls: Annotated[list[ToolCall], Field(min_length=1)] | None = None
    tool_call_id: str | None = None
    refusal: str | None = None
    reasoning: str | None = None
    annotations: list[dict[str, Any]] | None = None

    @model_validator(mode="before")
    @classmethod
    def _without_nulls(cls, value: Any) -> Any:
        """An answer sent back as an earlier turn brings fields that are null."""
        if not isinstance(value, dict):
            return value
        return {key: item for key, item in value.items() if item is not None}

    def text(self) -> str:
        """The turn's text, its parts joined; a refusal is what was said instead."""
        if isinstance(self.content, list):
            return "".join(p.text if isinstance(p, TextPart) else p.refusal for p in self.content)
        return self.content or self.refusal or ""

    def rendered(self) -> str:
        """All of the turn that a template may show, for counting and for checking."""
        if not self.tool_calls:
            return self.text()
        return self.text() + orjson.dumps([call.model_dump() for call in self.tool_calls]).decode()

    def for_engine(self) -> dict[str, Any]:
        """The turn as the engine takes it: templates know no developer, and no parts of text."""
        turn: dict[str, Any] = {"role": "system" if self.role == "developer" else self.role}
        turn["content"] = self.text() if self.text() or not self.tool_calls else None
        kept = {"name", "tool_calls", "tool_call_id", "reasoning"}
        return {**turn, **self.model_dump(include=kept, exclude_none=True)}

    def check(self, where: str) -> None:
        """What this role must bring and what it cannot have; `where` names the turn."""
        if self.role == "tool" and not self.tool_call_id:
            raise missing(f"{where}.tool_call_id", "A tool's answer names the call it belongs to")
        called = bool(self.tool_calls or self.refusal) and self.role == "assistant"
        if self.content is None and not called:
            raise missing(f"{where}.content", "Every turn says something")
        for name, role in (("tool_calls", "assistant"), ("tool_call_id", "tool")):
            if getattr(self, name) and self.role != role:
                message = f"`{name}` belongs to a message of role `{role}`, not `{self.role}`"
                raise InvalidRequest(message, "Leave it out", param=f"{where}.{name}")


def missing(field: str, remedy: str) -> InvalidRequest:
    """The error for a field that must be there."""
    return InvalidRequest(f"The field '{field}' is missing", remedy, param=field)
