"""What is known of jobs, on disk: one file each, replaced whole; and which service has which."""

import asyncio
import fcntl
import logging
from collections.abc import AsyncIterator
from contextlib import ExitStack, asynccontextmanager, suppress
from pathlib import Path

from pydantic import ValidationError

from indexer.errors import DslmError
from indexer.settings import write_atomically
from service.job import Job
from service.presence import Presence, has_ended

log = logging.getLogger("dslm.jobs")


class JobFiles:
    """The folder of them, which services on several machines may share."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._services = folder / "services"
        self._presence = Presence()
        self._writing = asyncio.Lock()

    @property
    def token(self) -> str:
        """What this service's jobs carry."""
        return self._presence.token

    @asynccontextmanager
    async def claiming(self) -> AsyncIterator[None]:
        """One service at a time says that it lives, and takes what dead ones have left."""
        with ExitStack() as stack:
            try:
                self._folder.mkdir(parents=True, exist_ok=True)
                lock = stack.enter_context((self._folder / "lock").open("ab"))
                await asyncio.to_thread(fcntl.flock, lock, fcntl.LOCK_EX)
                self._forget_the_dead()
            except OSError as error:
                log.warning("jobs are taken without a lock: %s", error)
            self._presence.announce(self._services)
            yield

    def is_held(self, job: Job) -> bool:
        """By another service, which lives. One that ended in good order has left no file."""
        if job.holder is None or not (self._services / job.holder).exists():
            return False
        return job.holder != self.token and not has_ended(self._services, job.holder)

    def withdraw(self) -> None:
        """Hold no job any more."""
        self._presence.withdraw(is_clean=True)

    def _forget_the_dead(self) -> None:
        for file in self._services.glob("*"):
            if has_ended(self._services, file.name):
                file.unlink(missing_ok=True)

    async def read_all(self) -> list[Job]:
        """The oldest first; what cannot be read is left out and said."""
        return await asyncio.to_thread(self._read_all)

    async def save(self, job: Job) -> None:
        """StoreError if it cannot be written."""
        async with self._writing:  # one after the other: the last to be asked is what stays
            content = job.model_dump_json(indent=1).encode()
            await asyncio.to_thread(write_atomically, self._folder / f"{job.id}.json", content)

    async def keep(self, job: Job) -> None:
        """Save it if possible: work must not fail because what is said of it cannot be written."""
        try:
            await self.save(job)
        except DslmError as error:
            log.warning("the state of %s is not kept: %s", job.id, error)

    async def remove(self, job: Job) -> None:
        with suppress(OSError):
            await asyncio.to_thread((self._folder / f"{job.id}.json").unlink, True)

    def _read_all(self) -> list[Job]:
        found = []
        for file in sorted(self._folder.glob("job-*.json")):
            try:
                found.append(Job.model_validate_json(file.read_bytes()))
            except (ValidationError, OSError) as error:
                log.warning("%s is left out: %s", file, error)
        return sorted(found, key=lambda job: job.created)
