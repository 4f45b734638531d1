"""Indexing jobs: one child process each, so that a job can neither block nor crash the service.

A job ends with the service, if that is stopped or killed, and is started again under its id when
the service starts: the work itself resumes where it was, so nothing but a start is lost, and no
child is ever left running that nobody watches. Two children never work on one domain: the service
sees the old one off first, and the domain's lock would refuse the second.
"""

import asyncio
import logging
import time
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from pathlib import Path
from typing import Any

from indexer.errors import BadInput
from service.child import ChildSettings, IndexChild, process_of, see_off
from service.errors import Conflict, InvalidRequest, Overloaded, ServiceError, UnknownName
from service.job import Job, Status
from service.job_files import JobFiles

KEPT_JOBS = 100
MOST_ATTEMPTS = 5
MOST_WATCHERS = 64
MOST_WAITING = 100
SAVE_SECONDS = 1.0
log = logging.getLogger("dslm.jobs")


class Jobs:
    """Starts indexing jobs, one a domain and `most` at once, and remembers the last ones."""

    def __init__(
        self,
        folder: Path,
        child: ChildSettings,
        after: Callable[[str], Awaitable[None]],
        most: int = 1,
    ) -> None:
        self._files = JobFiles(folder)
        self._child = child
        self._after = after
        self._slots = asyncio.Semaphore(most)
        self._planning = asyncio.Semaphore(1)
        self._jobs: dict[str, Job] = {}
        self._running: dict[str, IndexChild] = {}
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._stopping: set[asyncio.Task[None]] = set()
        self._changed = asyncio.Event()
        self._versions: Counter[str] = Counter()
        self._watchers = 0
        self.opened = asyncio.Event()
        self._closing = False

    async def open(self, domains: Iterable[str]) -> None:
        """Remember the jobs of earlier services, and go on with those that were interrupted."""
        async with self._files.claiming():
            for job in await self._files.read_all():
                if not self._files.is_held(job):
                    await self._take(job, domains)
        self.opened.set()

    async def _take(self, job: Job, domains: Iterable[str]) -> None:
        """Nobody else has it."""
        self._jobs[job.id] = job
        if job.has_ended:
            return
        if job.status == "cancelling":
            await self._ended(job, "cancelled")
        elif job.domain not in domains:
            await self._ended(job, "failed", f"The domain '{job.domain}' is no longer served")
        elif job.attempts >= MOST_ATTEMPTS:
            await self._ended(job, "failed", f"Interrupted {job.attempts} times")
        else:
            job.status, job.holder = "queued", self._files.token
            await self._files.keep(job)
            self._begin(job)

    def get(self, job_id: str) -> Job:
        """UnknownName if there is none, or none any more."""
        if job_id not in self._jobs:
            remedy = f"See GET /v1/jobs; the last {KEPT_JOBS} are kept"
            raise UnknownName(f"There is no job '{job_id}'", remedy)
        return self._jobs[job_id]

    def newest_first(self) -> list[Job]:
        """Those that are remembered."""
        return sorted(self._jobs.values(), key=lambda job: (job.created, job.id), reverse=True)

    def unfinished(self, domain: str) -> Job | None:
        """The domain's job that is queued or running."""
        waiting = (job for job in self._jobs.values() if job.domain == domain)
        return next((job for job in waiting if not job.has_ended), None)

    async def start(self, domain: str) -> Job:
        """Begin to index `domain`; Conflict while a job of the same domain has not ended."""
        other = self.unfinished(domain)
        if other:
            raise Conflict(
                f"The domain '{domain}' is being indexed by {other.id}", "Wait or cancel"
            )
        if len(self._tasks) >= MOST_WAITING:
            raise Overloaded(f"{MOST_WAITING} jobs are waiting", "Try again later", retry_after=60)
        job = Job(domain=domain, holder=self._files.token)
        self._jobs[job.id] = job
        try:
            await self._files.save(job)
        except BaseException:
            del self._jobs[job.id]
            raise
        self._begin(job)
        return job

    async def cancel(self, job_id: str) -> Job:
        """Have it end within one batch; what it has done is kept. Conflict if it has ended."""
        job = self.get(job_id)
        if job.has_ended:
            raise Conflict(f"The job '{job_id}' has ended: {job.status}", "Start another")
        if job.status == "queued":
            await self._ended(job, "cancelled")
        elif job.status == "running":
            job.status = "cancelling"
            self._tell(job)
            if job_id in self._running:
                self._stop(self._running[job_id])
            await self._files.keep(job)
        return job

    async def plan(self, domain: str) -> dict[str, Any]:
        """What a job would do, by a child that changes nothing."""
        async with self._planning:
            async with IndexChild.running(self._child, "--dry-run", domain) as child:
                plans = [said async for said in child.events() if said.get("event") == "plan"]
                code = await child.ended()
        if code or not plans:
            kind = InvalidRequest if code == BadInput.exit_code else ServiceError
            raise kind(child.said() or f"The dry run ended with exit code {code}")
        return {key: value for key, value in plans[-1].items() if key != "event"}

    def watch(self, job_id: str, patience: float) -> AsyncIterator[Job | None]:
        """The job now, at every change, and when it has ended; None after `patience` seconds of
        silence. Who is slow to ask misses changes, never the end."""
        if self._watchers >= MOST_WATCHERS:
            raise Overloaded(f"{MOST_WATCHERS} clients watch jobs", "Poll the job", retry_after=5)
        return self._watch(self.get(job_id), patience)

    async def _watch(self, job: Job, patience: float) -> AsyncIterator[Job | None]:
        self._watchers += 1
        seen = -1
        try:
            while not self._closing:
                changed, version = self._changed, self._versions[job.id]
                if version != seen:
                    seen, over = version, job.has_ended  # it may end while the taker works
                    yield job
                    if over:
                        return
                    continue
                try:
                    await asyncio.wait_for(changed.wait(), patience)
                except TimeoutError:
                    yield None
        finally:
            self._watchers -= 1

    def end_watching(self) -> None:
        """Let every watcher go: the service is about to stop."""
        self._closing = True
        self._tell(None)

    async def close(self) -> None:
        """End the children; their jobs go on when the service starts again."""
        self.end_watching()
        interrupted = [self._jobs[job_id] for job_id in self._tasks]
        for task in self._tasks.values():
            task.cancel()
        await asyncio.gather(*self._tasks.values(), *self._stopping, return_exceptions=True)
        for job in interrupted:
            if job.status == "running":
                job.status = "queued"
            job.holder = job.child = None
            await self._files.keep(job)
        self._files.withdraw()

    def _begin(self, job: Job) -> None:
        task = asyncio.get_running_loop().create_task(self._run(job))
        self._tasks[job.id] = task
        task.add_done_callback(lambda _: self._tasks.pop(job.id, None))

    async def _run(self, job: Job) -> None:
        try:
            async with self._slots:
                await see_off(job.child, self._child.stop_seconds)
                if job.status != "cancelled":
                    await self._attempt(job)
        except Exception as error:  # a job that is not told as ended would lock its domain
            log.exception("the job %s failed", job.id)
            await self._ended(job, "failed", str(error) or repr(error))

    async def _attempt(self, job: Job) -> None:
        job.begin()
        async with IndexChild.running(self._child, job.domain) as child:
            self._running[job.id] = child
            job.child = process_of(child.process.pid)
            if job.status == "cancelling":
                self._stop(child)
            try:
                await self._follow(job, child)
                code = await child.ended()
            finally:
                del self._running[job.id]
        status, error = job.outcome(code, child.said())
        late = await self._refreshed(job)
        await self._ended(job, status, late if status == "succeeded" else error)

    async def _refreshed(self, job: Job) -> str | None:
        """What keeps the release from answering: who follows the releases tries again."""
        try:
            await self._after(job.domain)
        except Exception as error:
            log.warning("the release of %s does not answer yet", job.id, exc_info=True)
            return f"Its release does not answer yet: {error or repr(error)}"
        return None

    def _stop(self, child: IndexChild) -> None:
        stopping = asyncio.create_task(child.stop())
        self._stopping.add(stopping)
        stopping.add_done_callback(self._stopping.discard)

    async def _follow(self, job: Job, child: IndexChild) -> None:
        await self._files.keep(job)
        saved = time.monotonic()
        async for said in child.events():
            job.take(said)
            self._tell(job)
            if time.monotonic() - saved > SAVE_SECONDS:
                await self._files.keep(job)
                saved = time.monotonic()

    async def _ended(self, job: Job, status: Status, error: str | None = None) -> None:
        job.end(status, error)
        await self._files.keep(job)
        ended = [one for one in self.newest_first() if one.has_ended]
        for old in ended[KEPT_JOBS:]:
            await self._files.remove(old)  # first: what is forgotten must not come back at a start
            self._jobs.pop(old.id, None)
            self._versions.pop(old.id, None)
        self._tell(job)

    def _tell(self, job: Job | None) -> None:
        if job:
            self._versions[job.id] += 1
        self._changed.set()
        self._changed = asyncio.Event()
