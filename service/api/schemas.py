"""What the service answers, as schemas: they describe it in the OpenAPI document, and no more.

Answers are written as plain dictionaries; `tests/service/test_openapi_document.py` holds both
together.
"""

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from adapters.release import Release
from service.documents import State
from service.job import Status

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


class ReleaseCard(Release):
    object: Literal["release"]


class ReleaseList(Said):
    object: Literal["list"]
    data: list[ReleaseCard]


class Difference(Said):
    """What one release has otherwise than another."""

    object: Literal["release.diff"]
    changes: dict[str, dict[str, Any]]


class Audit(Said):
    """Who changed what, newest last."""

    object: Literal["list"]
    data: list[dict[str, Any]]
    has_more: bool


class TrafficCard(Said):
    """Who gets which release."""

    object: Literal["traffic"]
    domain: str
    live: int | None
    canary: dict[str, Any] | None
    mirror: dict[str, Any] | None


class DomainCard(Said):
    id: str
    object: Literal["domain"]
    title: str
    mode: Literal["generate", "verbatim", "quote"]
    release: ReleaseCard | None


class DomainList(Said):
    object: Literal["list"]
    data: list[DomainCard]


class Page(Said):
    """A part of a list; `last_id` is where the next begins."""

    object: Literal["list"]
    first_id: str | None
    last_id: str | None
    has_more: bool


class DocumentCard(Said):
    id: str
    object: Literal["document"]
    path: str
    state: State
    bytes: Count
    created_at: int
    documents: Count
    uploaded: bool
    reasons: list[str]


class DocumentPage(Page):
    data: list[DocumentCard]


class Uploaded(Said):
    object: Literal["list"]
    data: list[DocumentCard]


class DocumentText(Said):
    path: str
    title: str
    text: str


class Deleted(Said):
    id: str
    object: Literal["document"]
    deleted: Literal[True]


class Progress(Said):
    done: Count
    total: Count
    seconds: float
    rate: float
    seconds_left: float | None


class JobProgress(Progress):
    phase: str


class JobCard(Said):
    id: str
    object: Literal["job"]
    domain: str
    status: Status
    created_at: int
    started_at: int | None
    ended_at: int | None
    attempts: Count
    progress: JobProgress | None
    phases: dict[str, Progress]
    quarantined_total: Count
    result: dict[str, Any] | None
    error: str | None


class JobPage(Page):
    data: list[JobCard]


class IndexPlan(Said):
    """What a job would do."""

    object: Literal["plan"]


class EngineHealth(Said):
    state: str
    engines: int
    ready: int


class Health(Said):
    status: Literal["ok", "failed"]
    engines: dict[str, EngineHealth]


class Readiness(Said):
    ready: bool
    releases: dict[str, int]
    without_release: list[str]
