"""What may be asked of a chat: OpenAI's fields and vLLM's sampling extras, each with its rule.

A field is passed on, or accepted because it changes nothing, or refused by name: never dropped.
`deploy/docs/api.md` tells which.
"""

from typing import Annotated, Any, Literal

import orjson
from pydantic import Field, model_validator

from service.answer.body import Asked, Body
from service.answer.body import Mode as Mode
from service.answer.messages import Message
from service.answer.tools import AllowedTools, Choice, Format, NamedTool, PlainText, Tool
from service.answer.unsupported import CHAT, refuse, refuse_parts, refuse_values
from service.errors import InvalidRequest, Unsupported

MOST_TOOLS = 128


class Switches(Body):
    """The request's `dslm` object: parts of the specialist that may be switched off, and which
    documents may answer: `filter` names fields and the values that they must have.
    """

    passages: bool = True
    demonstrations: bool = True
    adapter: bool = True
    explain: bool = False
    mode: Mode | None = None
    filter: dict[str, Any] | None = None

    @model_validator(mode="after")
    def _filter_has_a_use(self) -> "Switches":
        if self.filter and not self.passages:
            message = "`filter` chooses among passages, and they are switched off"
            raise InvalidRequest(message, "Leave one of the two out", param="dslm.filter")
        return self


class ChatRequest(Asked):
    """POST /v1/chat/completions."""

    messages: Annotated[list[Message], Field(min_length=1)]
    dslm: Switches = Switches()
    max_tokens: Annotated[int, Field(ge=1)] | None = None
    max_completion_tokens: Annotated[int, Field(ge=1)] | None = None
    logprobs: bool | None = None
    top_logprobs: Annotated[int, Field(ge=0, le=20)] | None = None
    response_format: Format | None = None
    tools: Annotated[list[Tool], Field(min_length=1, max_length=MOST_TOOLS)] | None = None
    tool_choice: Choice | None = None
    parallel_tool_calls: bool | None = None
    reasoning_effort: Literal["none", "minimal", "low", "medium", "high", "xhigh", "max"] | None = (
        None
    )
    chat_template_kwargs: dict[str, bool | int | float | str] | None = None
    # Accepted because clients send them; they change nothing here.
    metadata: dict[str, str] | None = None
    store: Literal[False] | None = None
    service_tier: Literal["auto", "default"] | None = None
    safety_identifier: Annotated[str, Field(max_length=64)] | None = None
    prompt_cache_key: str | None = None
    prompt_cache_retention: Literal["in_memory"] | None = None
    modalities: list[Literal["text"]] | None = None
    verbosity: Literal["medium"] | None = None

    @model_validator(mode="before")
    @classmethod
    def _supported(cls, value: Any) -> Any:
        if isinstance(value, dict):
            refuse(value, CHAT)
            refuse_values(value)
            refuse_parts(value.get("messages"))
            _refuse_custom_tools(value)
        return value

    @model_validator(mode="after")
    def _consistent(self) -> "ChatRequest":
        for number, message in enumerate(self.messages):
            message.check(f"messages[{number}]")
        if self.top_logprobs is not None and not self.logprobs:
            raise _needs("top_logprobs", '"logprobs": true')
        if self.stream_options and not self.stream:
            raise _needs("stream_options", '"stream": true')
        if self.tool_choice not in (None, "none") and not self.tools:
            raise _needs("tool_choice", "`tools`")
        if self.max_tokens and self.max_completion_tokens:
            both = "`max_tokens` and `max_completion_tokens` cannot both be set"
            raise InvalidRequest(both, "Send the latter", param="max_tokens")
        self._check_choice()
        return self

    def limit(self) -> int | None:
        """The most tokens the answer may have, by whichever of its two names."""
        return self.max_completion_tokens or self.max_tokens

    def limit_name(self) -> str:
        """Which of the two names the client used."""
        return "max_completion_tokens" if self.max_completion_tokens else "max_tokens"

    def is_shaped(self) -> bool:
        """Is the content to be something else than prose, in which `[1]` would be no citation?"""
        free = self.response_format is None or isinstance(self.response_format, PlainText)
        return bool(self.structured_outputs) or not free

    def may_call(self) -> bool:
        """May the answer be a call of a tool?"""
        return bool(self.tools) and self.tool_choice != "none"

    def constraints(self) -> tuple[str, ...]:
        """Fields that dictate the answer's form."""
        given = {
            "tools": self.may_call(),
            "response_format": self.is_shaped() and not self.structured_outputs,
            "structured_outputs": bool(self.structured_outputs),
        }
        return tuple(name for name, value in given.items() if value)

    def forms(self) -> dict[str, Any]:
        """What has to be compiled before the first token, by field."""
        found = super().forms()
        if self.is_shaped() and self.response_format:
            found["response_format"] = self.response_format.model_dump()
        if self.may_call():
            found["tools"] = [tool.function.parameters for tool in self.tools or ()]
        return found

    def question(self) -> str:
        """The last user message: what is looked up and answered."""
        return self.messages[self._asked()].text()

    def conversation(self) -> list[Message]:
        """The turns up to the question, which is the last of them."""
        return self.messages[: self._asked() + 1]

    def calls(self) -> list[Message]:
        """What came after the question: calls of tools and their results."""
        return self.messages[self._asked() + 1 :]

    def plain_messages(self) -> list[dict[str, Any]]:
        """The messages as they came, for the bare base."""
        return [message.for_engine() for message in self.messages]

    def tools_text(self) -> str:
        """The tools as a template will show them, more or less; empty if there are none."""
        if not self.tools:
            return ""
        return orjson.dumps([tool.model_dump(exclude_none=True) for tool in self.tools]).decode()

    def sampling(self) -> dict[str, Any]:
        """What the engine is told besides the prompt."""
        more = self.model_dump(include=set(PASSED), exclude_none=True, by_alias=True)
        if isinstance(self.tool_choice, AllowedTools):
            allowed = self.tool_choice.allowed_tools
            names = {tool.function.name for tool in allowed.tools}
            more["tools"] = [t for t in more["tools"] if t["function"]["name"] in names]
            more["tool_choice"] = allowed.mode
        return {**super().sampling(), **more}

    def _asked(self) -> int:
        last = self.messages[-1].role
        questions = [i for i, message in enumerate(self.messages) if message.role == "user"]
        if last not in ("user", "tool") or not questions:
            raise InvalidRequest(
                "The last message must be the user's question, or a tool's answer after one",
                "End `messages` with a user message, or ask the model `base`",
                param="messages",
            )
        return questions[-1]

    def _check_choice(self) -> None:
        known = {tool.function.name for tool in self.tools or ()}
        picked: list[NamedTool] = []
        if isinstance(self.tool_choice, NamedTool):
            picked = [self.tool_choice]
        elif isinstance(self.tool_choice, AllowedTools):
            picked = self.tool_choice.allowed_tools.tools
        for tool in picked:
            if tool.function.name not in known:
                message = f"`tool_choice` names '{tool.function.name}', which is not in `tools`"
                raise InvalidRequest(message, "Name one of them", param="tool_choice")


def _needs(field: str, other: str) -> InvalidRequest:
    return InvalidRequest(f"`{field}` is only allowed with {other}", "Send both", param=field)


def _refuse_custom_tools(body: dict[str, Any]) -> None:
    tools = body.get("tools")
    for number, tool in enumerate(tools if isinstance(tools, list) else ()):
        if isinstance(tool, dict) and tool.get("type") == "custom":
            where = f"tools[{number}]"
            raise Unsupported("Custom tools are not supported", "Send a function", param=where)


PASSED = (
    "logprobs",
    "top_logprobs",
    "response_format",
    "tools",
    "tool_choice",
    "parallel_tool_calls",
    "reasoning_effort",
    "chat_template_kwargs",
)
