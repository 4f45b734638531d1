"""What OpenAI's endpoints answer, with what this service adds: schemas for the OpenAPI document.

Answers are written as plain dictionaries; `tests/service/test_openapi_document.py` holds both
together.
"""

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

Count = Annotated[int, Field(ge=0)]
Ending = Literal["stop", "length", "tool_calls", "content_filter", "function_call"]


class Said(BaseModel):
    """An answer may have more than is described: engines add to theirs."""

    model_config = ConfigDict(extra="allow", protected_namespaces=())


class Problem(Said):
    message: str
    type: str
    param: str | None
    code: str | None


class ErrorAnswer(Said):
    """OpenAI's envelope of every error."""

    error: Problem


class Usage(Said):
    prompt_tokens: Count
    completion_tokens: Count
    total_tokens: Count


class UrlCitation(Said):
    start_index: Count
    end_index: Count
    title: str
    url: str


class Annotation(Said):
    """A citation: `quote` is the document's text from `start` to `end`."""

    type: Literal["url_citation"]
    url_citation: UrlCitation
    document: str
    chunk: str
    start: Count
    end: Count
    quote: str
    exact: bool


class FunctionCall(Said):
    name: str
    arguments: str


class AnsweredCall(Said):
    id: str
    type: Literal["function"]
    function: FunctionCall


class AnswerMessage(Said):
    role: Literal["assistant"]
    content: str | None
    refusal: str | None
    annotations: list[Annotation]
    tool_calls: list[AnsweredCall] = []


class ChatChoice(Said):
    index: Count
    message: AnswerMessage
    logprobs: dict[str, Any] | None
    finish_reason: Ending


class About(Said):
    """What the answer rests on; absent where the base was asked."""

    domain: str
    release: int
    snapshot: str
    adapter: str | None
    mode: Literal["generate", "verbatim", "quote"]
    passages: list[dict[str, Any]]
    demonstrations: list[str]


class Answered(Said):
    id: str
    created: int
    model: str


class ChatCompletion(Answered):
    object: Literal["chat.completion"]
    choices: list[ChatChoice]
    usage: Usage
    dslm: About = Field(default=None)  # type: ignore[assignment]


class ChunkChoice(Said):
    index: Count
    delta: dict[str, Any]
    finish_reason: Ending | None


class ChatChunk(Answered):
    """One event of a stream; the last is `[DONE]`, or an error's envelope and nothing after it."""

    object: Literal["chat.completion.chunk"]
    choices: list[ChunkChoice]
    usage: Usage | None = None
    dslm: About = Field(default=None)  # type: ignore[assignment]


class TextChoice(Said):
    index: Count
    text: str
    logprobs: dict[str, Any] | None
    finish_reason: Ending


class TextCompletion(Answered):
    object: Literal["text_completion"]
    choices: list[TextChoice]
    usage: Usage
    dslm: About = Field(default=None)  # type: ignore[assignment]


class TextChunkChoice(Said):
    index: Count
    text: str
    finish_reason: Ending | None


class TextChunk(Answered):
    object: Literal["text_completion"]
    choices: list[TextChunkChoice]
    usage: Usage | None = None


class Embedding(Said):
    object: Literal["embedding"]
    index: Count
    embedding: list[float] | str


class EmbeddingUsage(Said):
    prompt_tokens: Count
    total_tokens: Count


class EmbeddingList(Said):
    object: Literal["list"]
    model: str
    data: list[Embedding]
    usage: EmbeddingUsage


class ServedModel(Said):
    id: str
    object: Literal["model"]
    created: Count
    owned_by: str
    parent: str | None


class ModelList(Said):
    object: Literal["list"]
    data: list[ServedModel]
