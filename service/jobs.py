"""Indexing jobs: one child process each, so that a job can neither block nor crash the service."""

import asyncio
import logging
import sys
import time
import uuid
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import orjson

from service.errors import Conflict, UnknownName

KEPT_JOBS = 100
KEPT_LINES = 20
LONGEST_LINE = 16 * 2**20
log = logging.getLogger("dslm.jobs")
COMMAND = (sys.executable, "-m", "dslm", "index", "--json")


@dataclass(slots=True)
class Job:
    """One run of `dslm index --json`; `result` is its last line."""

    domain: str
    id: str = field(default_factory=lambda: f"job-{uuid.uuid4().hex[:12]}")
    status: Literal["running", "succeeded", "failed"] = "running"
    created: int = field(default_factory=lambda: int(time.time()))
    progress: dict[str, Any] = field(default_factory=dict)
    result: dict[str, Any] | None = None
    error: str | None = None

    def describe(self) -> dict[str, Any]:
        """The job as the API shows it."""
        return {
            "id": self.id,
            "object": "job",
            "domain": self.domain,
            "status": self.status,
            "created": self.created,
            "progress": self.progress,
            "result": self.result,
            "error": self.error,
        }


class Jobs:
    """Starts indexing jobs, at most one a domain, and remembers the last ones."""

    def __init__(
        self,
        environment: Mapping[str, str],
        after: Callable[[str], Awaitable[None]],
        command: Sequence[str] = COMMAND,
    ) -> None:
        self._environment = environment
        self._after = after
        self._command = command
        self._jobs: dict[str, Job] = {}
        self._tasks: set[asyncio.Task[None]] = set()

    def get(self, job_id: str) -> Job:
        if job_id not in self._jobs:
            raise UnknownName(f"There is no job '{job_id}'", "Jobs end with the service")
        return self._jobs[job_id]

    def start(self, domain: str) -> Job:
        """Begin to index `domain`; refuse while a job of the same domain runs."""
        running = [j for j in self._jobs.values() if j.domain == domain and j.status == "running"]
        if running:
            raise Conflict(
                f"The domain '{domain}' is being indexed by {running[0].id}", "Wait for its end"
            )
        job = Job(domain)
        self._jobs[job.id] = job
        for old in list(self._jobs)[:-KEPT_JOBS]:
            del self._jobs[old]
        task = asyncio.get_running_loop().create_task(self._run(job))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return job

    async def close(self) -> None:
        """End the children; what they had not published stays unpublished."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _run(self, job: Job) -> None:
        try:
            code, last_words = await self._child(job)
            await self._after(job.domain)
            job.error = None if code == 0 else last_words or f"exit code {code}"
        except Exception as error:  # a job that is not told as ended would lock its domain
            log.exception("the job %s failed", job.id)
            job.error = str(error) or repr(error)
        job.status = "failed" if job.error else "succeeded"

    async def _child(self, job: Job) -> tuple[int, str]:
        """Run it to its end: its exit code and the last it said on stderr."""
        child = await asyncio.create_subprocess_exec(
            *self._command,
            job.domain,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            env=dict(self._environment),
            limit=LONGEST_LINE,
        )
        try:
            assert child.stdout is not None
            assert child.stderr is not None
            said = asyncio.ensure_future(child.stderr.read())
            async for line in child.stdout:
                _take(job, line)
            last = (await said).decode(errors="replace").strip().splitlines()[-KEPT_LINES:]
            return await child.wait(), "\n".join(last)
        finally:
            if child.returncode is None:
                child.terminate()
                await child.wait()


def _take(job: Job, line: bytes) -> None:
    try:
        said = orjson.loads(line)
    except orjson.JSONDecodeError:
        return
    if said.get("event") == "progress":
        job.progress = {key: said.get(key) for key in ("phase", "done", "total")}
    elif said.get("event") == "result":
        job.result = {key: value for key, value in said.items() if key != "event"}
