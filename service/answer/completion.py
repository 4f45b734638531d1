"""What may be asked of a legacy completion: a text to go on with, and no conversation."""

from typing import Annotated, Any

from pydantic import Field, model_validator

from service.answer.body import Asked
from service.answer.request import Switches
from service.answer.unsupported import COMPLETION, refuse
from service.errors import InvalidRequest, Unsupported

MOST_PROMPTS = 128
Tokens = Annotated[list[Annotated[int, Field(ge=0)]], Field(min_length=1)]
Prompts = Annotated[list[str], Field(min_length=1, max_length=MOST_PROMPTS)]
TokenPrompts = Annotated[list[Tokens], Field(min_length=1, max_length=MOST_PROMPTS)]


class CompletionRequest(Asked):
    """POST /v1/completions: the base, or a domain's adapter, without passages or a template."""

    prompt: str | Prompts | Tokens | TokenPrompts
    dslm: Switches = Switches()
    max_tokens: Annotated[int, Field(ge=0)] | None = None
    logprobs: Annotated[int, Field(ge=0, le=5)] | None = None
    echo: bool | None = None
    best_of: Annotated[int, Field(ge=1, le=20)] | None = None

    @model_validator(mode="before")
    @classmethod
    def _supported(cls, value: Any) -> Any:
        if isinstance(value, dict):
            refuse(value, COMPLETION)
        return value

    @model_validator(mode="after")
    def _consistent(self) -> "CompletionRequest":
        if self.stream_options and not self.stream:
            message = '`stream_options` is only allowed with "stream": true'
            raise InvalidRequest(message, "Send both", param="stream_options")
        if self.best_of and self.best_of != (self.n or 1):
            message = f"`best_of` = {self.best_of} is not supported, only the value of `n`"
            raise Unsupported(message, "Ask for `n` and choose among them", param="best_of")
        return self

    def limit(self) -> int | None:
        """The most tokens the answer may have; OpenAI's default is 16."""
        return self.max_tokens

    def limit_name(self) -> str:
        return "max_tokens"

    def sampling(self) -> dict[str, Any]:
        """What the engine is told besides the prompt."""
        more = self.model_dump(include={"logprobs", "echo"}, exclude_none=True)
        return {**super().sampling(), **more}

    def check_bare(self) -> None:
        """A bare prompt has no place for what a domain adds: the caller must know that."""
        for name in ("passages", "demonstrations"):
            if getattr(self.dslm, name):
                raise Unsupported(
                    f"A completion of a domain cannot have {name}",
                    'Send "dslm": {"passages": false, "demonstrations": false}, or ask '
                    "/v1/chat/completions",
                    param=f"dslm.{name}",
                )
