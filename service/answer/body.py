"""What every request body has in common, and what all that is written by an engine can be asked."""

from typing import Annotated, Any, Literal, TypeAlias

from pydantic import BaseModel, ConfigDict, Field, model_validator

from service.answer.bounds import check_forms

Mode: TypeAlias = Literal["generate", "verbatim", "quote"]
INT64 = 2**63
LONGEST_NAME = 256


class Body(BaseModel):
    """Strict: a wrong type is an error and never converted, an unknown field is one too."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)


class StreamOptions(Body):
    include_usage: bool | None = None
    include_obfuscation: Literal[False] | None = None


Penalty: TypeAlias = Annotated[float, Field(ge=-2, le=2)]
Bias: TypeAlias = dict[
    Annotated[str, Field(pattern=r"^\d{1,9}$")], Annotated[float, Field(ge=-100, le=100)]
]


class Sampling(Body):
    """How the engine is to sample: OpenAI's fields, then vLLM's extras; all of it is passed on."""

    temperature: Annotated[float, Field(ge=0, le=2)] | None = None
    top_p: Annotated[float, Field(ge=0, le=1)] | None = None
    n: Annotated[int, Field(ge=1, le=128)] | None = None
    stop: str | Annotated[list[str], Field(max_length=4)] | None = None
    seed: Annotated[int, Field(ge=-INT64, lt=INT64)] | None = None
    presence_penalty: Penalty | None = None
    frequency_penalty: Penalty | None = None
    logit_bias: Bias | None = None
    top_k: Annotated[int, Field(ge=-1)] | None = None
    min_p: Annotated[float, Field(ge=0, le=1)] | None = None
    repetition_penalty: Annotated[float, Field(gt=0)] | None = None
    min_tokens: Annotated[int, Field(ge=0)] | None = None
    ignore_eos: bool | None = None
    stop_token_ids: list[int] | None = None
    include_stop_str_in_output: bool | None = None
    skip_special_tokens: bool | None = None
    spaces_between_special_tokens: bool | None = None
    allowed_token_ids: Annotated[list[int], Field(min_length=1)] | None = None
    bad_words: list[str] | None = None
    structured_outputs: dict[str, Any] | None = None


# vLLM takes no 0: the most likely token alone is what either of them leaves.
LEAST_TOP_P = 1e-6


class Asked(Sampling):
    """A request that an engine answers: with chat messages or with a bare prompt."""

    model: Annotated[str, Field(min_length=1, max_length=LONGEST_NAME)]
    stream: bool | None = None
    stream_options: StreamOptions | None = None
    # Accepted because clients send it; it changes nothing here.
    user: str | None = None

    @model_validator(mode="after")
    def _compilable(self) -> "Asked":
        check_forms(self.forms())
        return self

    def forms(self) -> dict[str, Any]:
        """What has to be compiled before the first token, by field."""
        given = self.structured_outputs
        return {"structured_outputs": given} if given else {}

    def wants_usage(self) -> bool:
        """Is a stream to end with a chunk of usage?"""
        return bool(self.stream_options and self.stream_options.include_usage)

    def sampling(self) -> dict[str, Any]:
        """What the engine is told besides the prompt."""
        told = self.model_dump(include=set(Sampling.model_fields), exclude_none=True)
        if self.top_p == 0:
            told["top_p"] = LEAST_TOP_P
        return told
