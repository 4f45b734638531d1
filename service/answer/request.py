"""What may be asked: OpenAI's fields and vLLM's sampling extras. An unknown field is an error."""

from typing import Annotated, Any, Literal, TypeAlias

from pydantic import BaseModel, ConfigDict, Field, model_validator

from service.errors import InvalidRequest

Mode: TypeAlias = Literal["generate", "verbatim", "quote"]


class Body(BaseModel):
    """Strict: a wrong type is an error and never converted."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)


class TextPart(Body):
    type: Literal["text"]
    text: str


class Message(Body):
    """One turn. Content parts may be text only."""

    role: Literal["system", "developer", "user", "assistant", "tool"]
    content: str | list[TextPart] | None = None
    name: str | None = None
    tool_calls: list[dict[str, Any]] | None = None
    tool_call_id: str | None = None
    refusal: str | None = None
    annotations: list[dict[str, Any]] | None = None

    @model_validator(mode="before")
    @classmethod
    def _without_nulls(cls, value: Any) -> Any:
        """An answer sent back as an earlier turn brings fields that are null."""
        if not isinstance(value, dict):
            return value
        return {key: item for key, item in value.items() if item is not None}

    def text(self) -> str:
        """The turn's text, its parts joined."""
        if isinstance(self.content, list):
            return "".join(part.text for part in self.content)
        return self.content or ""


class Switches(Body):
    """The request's `dslm` object: parts of the specialist that may be switched off."""

    passages: bool = True
    demonstrations: bool = True
    adapter: bool = True
    explain: bool = False
    mode: Mode | None = None


class StreamOptions(Body):
    include_usage: bool = False
    include_obfuscation: bool = False


Penalty: TypeAlias = Annotated[float, Field(ge=-2, le=2)]


class ChatRequest(Body):
    """POST /v1/chat/completions."""

    model: str
    messages: Annotated[list[Message], Field(min_length=1)]
    dslm: Switches = Switches()
    stream: bool | None = None
    stream_options: StreamOptions | None = None
    max_tokens: Annotated[int, Field(ge=1)] | None = None
    max_completion_tokens: Annotated[int, Field(ge=1)] | None = None
    temperature: Annotated[float, Field(ge=0, le=2)] | None = None
    top_p: Annotated[float, Field(gt=0, le=1)] | None = None
    n: Annotated[int, Field(ge=1, le=128)] | None = None
    stop: str | list[str] | None = None
    seed: int | None = None
    presence_penalty: Penalty | None = None
    frequency_penalty: Penalty | None = None
    logit_bias: dict[str, float] | None = None
    logprobs: bool | None = None
    top_logprobs: Annotated[int, Field(ge=0, le=20)] | None = None
    response_format: dict[str, Any] | None = None
    tools: list[dict[str, Any]] | None = None
    tool_choice: str | dict[str, Any] | None = None
    parallel_tool_calls: bool | None = None
    # Accepted because clients send them; they change nothing here.
    user: str | None = None
    metadata: dict[str, str] | None = None
    store: Literal[False] | None = None
    service_tier: Literal["auto", "default"] | None = None
    safety_identifier: str | None = None
    prompt_cache_key: str | None = None
    # vLLM's sampling extras.
    top_k: int | None = None
    min_p: float | None = None
    repetition_penalty: float | None = None
    min_tokens: Annotated[int, Field(ge=0)] | None = None
    ignore_eos: bool | None = None
    stop_token_ids: list[int] | None = None
    structured_outputs: dict[str, Any] | None = None

    def limit(self) -> int | None:
        """The most tokens the answer may have, by whichever of its two names."""
        return self.max_completion_tokens or self.max_tokens

    def limit_name(self) -> str:
        """Which of the two names the client used."""
        return "max_completion_tokens" if self.max_completion_tokens else "max_tokens"

    def wants_usage(self) -> bool:
        """Is a stream to end with a chunk of usage?"""
        return bool(self.stream_options and self.stream_options.include_usage)

    def constraints(self) -> tuple[str, ...]:
        """Fields that dictate the answer's form."""
        free = self.response_format in (None, {"type": "text"})
        given = {
            "tools": self.tools,
            "response_format": None if free else self.response_format,
            "structured_outputs": self.structured_outputs,
        }
        return tuple(name for name, value in given.items() if value)

    def question(self) -> str:
        """The last user message: what is looked up and answered."""
        if self.messages[-1].role != "user":
            raise InvalidRequest(
                "The last message must be the user's question",
                "End `messages` with a user message, or ask the model `base`",
                param="messages",
            )
        return self.messages[-1].text()

    def conversation(self) -> list[dict[str, str]]:
        """The turns as role and text, for composing; prompt formats have no tool turns."""
        if any(m.role == "tool" or m.tool_calls for m in self.messages):
            raise InvalidRequest(
                "Tool turns cannot be combined with passages and demonstrations",
                "Ask the model `base` with them",
                param="messages",
            )
        roles = {"developer": "system"}
        return [{"role": roles.get(m.role, m.role), "content": m.text()} for m in self.messages]

    def plain_messages(self) -> list[dict[str, Any]]:
        """The messages as they came, for the bare base."""
        return [message.model_dump(exclude_none=True) for message in self.messages]

    def sampling(self) -> dict[str, Any]:
        """What the engine is told besides the prompt."""
        return self.model_dump(include=set(SAMPLING), exclude_none=True)


SAMPLING = (
    "temperature",
    "top_p",
    "n",
    "stop",
    "seed",
    "presence_penalty",
    "frequency_penalty",
    "logit_bias",
    "logprobs",
    "top_logprobs",
    "response_format",
    "tools",
    "tool_choice",
    "parallel_tool_calls",
    "top_k",
    "min_p",
    "repetition_penalty",
    "min_tokens",
    "ignore_eos",
    "stop_token_ids",
    "structured_outputs",
)
