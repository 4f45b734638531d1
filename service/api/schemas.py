"""What the service's own endpoints answer: schemas for the OpenAPI document, and no more.

OpenAI's stand in `openai_schemas`; `tests/service/test_openapi_document.py` holds all of them
against the answers.
"""

from typing import Any, Literal

from adapters.release import Release
from service.api.openai_schemas import Count, Said
from service.documents import State
from service.job import Status


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


class FeedbackCard(Said):
    """An opinion as it was kept."""

    id: str
    object: Literal["feedback"]
    created_at: int
    answer: str
    domain: str
    release: int
    rating: Literal["up", "down"] | None
    corrected: bool


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
