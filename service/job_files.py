"""What is known of jobs, on disk: one file each, replaced whole."""

import asyncio
import logging
from contextlib import suppress
from pathlib import Path

from pydantic import ValidationError

from indexer.errors import DslmError
from indexer.settings import write_atomically
from service.job import Job

log = logging.getLogger("dslm.jobs")


class JobFiles:
    """The folder of them."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._writing = asyncio.Lock()

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
