"""Indexing jobs: start one or ask what it would do, follow it, cancel it."""

import asyncio
from collections.abc import AsyncIterator
from typing import Annotated

import orjson
from fastapi import APIRouter, Query, Request
from fastapi.responses import Response
from pydantic import BaseModel, ConfigDict

from service.answer.releases import Releases
from service.api.auth import caller_of
from service.api.events import GONE, EventStream, unless_gone
from service.api.openapi import EVENTS, described
from service.api.pages import page
from service.api.schemas import IndexPlan, JobCard, JobPage
from service.api.wire import Json, parse
from service.errors import UnknownName
from service.job import Job, Status
from service.jobs import Jobs

HEARTBEAT_SECONDS = 10.0
LEAST_SECONDS_BETWEEN_EVENTS = 0.1
MAX_LISTED = 100


class IndexRequest(BaseModel):
    """POST /v1/domains/{domain}/index; a body may be left out."""

    model_config = ConfigDict(extra="forbid", strict=True)

    dry_run: bool = False


def job_routes(releases: Releases, jobs: Jobs) -> APIRouter:
    """What is indexed now, was lately, or would be."""
    router = APIRouter()

    index_said = described(
        IndexPlan, also={202: JobCard}, body=IndexRequest, body_required=False, errors=(404, 409)
    )

    @router.post("/v1/domains/{domain}/index", openapi_extra=index_said)
    async def index(domain: str, request: Request) -> Response:
        releases.domain(domain)
        wanted = await parse(request, IndexRequest) if _has_body(request) else IndexRequest()
        if not wanted.dry_run:
            return Json((await jobs.start(domain)).describe(), 202)
        plan = await unless_gone(request, jobs.plan(domain))
        return Response(status_code=GONE) if plan is None else Json({"object": "plan", **plan})

    @router.get("/v1/jobs", openapi_extra=described(JobPage, errors=(404,)))
    async def list_jobs(
        request: Request,
        domain: str | None = None,
        status: Status | None = None,
        after: str = "",
        limit: Annotated[int, Query(ge=1, le=MAX_LISTED)] = 20,
    ) -> Response:
        every = jobs.newest_first()
        if after:
            every = every[every.index(_of_caller(jobs, after, request)) + 1 :]
        caller = caller_of(request)
        found = [
            job
            for job in every
            if domain in {None, job.domain} and status in {None, job.status}
            if caller.may_change(job.domain)
        ]
        return Json(page([job.describe(short=True) for job in found], limit))

    @router.get("/v1/jobs/{job}", openapi_extra=described(JobCard, errors=(404,)))
    async def show_job(job: str, request: Request) -> Response:
        return Json(_of_caller(jobs, job, request).describe())

    @router.post("/v1/jobs/{job}/cancel", openapi_extra=described(JobCard, errors=(404, 409)))
    async def cancel_job(job: str, request: Request) -> Response:
        _of_caller(jobs, job, request)
        return Json((await jobs.cancel(job)).describe())

    @router.get("/v1/jobs/{job}/events", openapi_extra=described(EVENTS, errors=(404,)))
    async def follow_job(job: str, request: Request) -> Response:
        _of_caller(jobs, job, request)
        seen = jobs.watch(job, HEARTBEAT_SECONDS)
        return EventStream(lambda: _events(seen), lambda _: None)

    return router


def _of_caller(jobs: Jobs, job_id: str, request: Request) -> Job:
    """UnknownName also for a job of a domain that the caller may not change."""
    job = jobs.get(job_id)
    if not caller_of(request).may_change(job.domain):
        raise UnknownName(f"There is no job '{job_id}'")
    return job


def _has_body(request: Request) -> bool:
    headers = request.headers
    return "transfer-encoding" in headers or headers.get("content-length", "0") != "0"


async def _events(seen: AsyncIterator[Job | None]) -> AsyncIterator[bytes]:
    """First how it stands, then what changes, last how it ended; a comment when nothing does."""
    number = 0
    async for job in seen:
        if job is None:
            yield b": nothing new\n\n"
            continue
        number += 1
        kind = b"result" if job.has_ended else b"progress"
        yield b"event: %b\nid: %d\ndata: %b\n\n" % (kind, number, orjson.dumps(job.describe()))
        if not job.has_ended:
            await asyncio.sleep(LEAST_SECONDS_BETWEEN_EVENTS)
