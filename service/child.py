"""The child process of an indexing job: the one way in which the service starts `dslm index`."""

import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import orjson
import psutil

from service.job import Process

ROOT = Path(__file__).resolve().parent.parent
COMMAND = (sys.executable, "-m", "service.launch_index", "index", "--json")
LONGEST_LINE = 2**30  # a plan or a result names every file
KEPT_WORDS = 4000
STOP_SECONDS = 60.0
POLL_SECONDS = 0.1


@dataclass(frozen=True, slots=True)
class ChildSettings:
    """What it is started with. `stop_seconds`: from SIGTERM, which cancels, to SIGKILL."""

    environment: Mapping[str, str]
    command: Sequence[str] = COMMAND
    stop_seconds: float = STOP_SECONDS


@dataclass(slots=True)
class IndexChild:
    """A running child; `last_words` is the end of what it said on stderr."""

    process: asyncio.subprocess.Process
    stop_seconds: float
    last_words: bytearray = field(default_factory=bytearray)
    _listening: asyncio.Task[None] | None = None

    @classmethod
    @asynccontextmanager
    async def running(cls, settings: ChildSettings, *arguments: str) -> AsyncIterator["IndexChild"]:
        """A child for the block, with its own session: when the block ends all of it has ended."""
        process = await asyncio.create_subprocess_exec(
            *settings.command,
            *arguments,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            cwd=ROOT,
            env=dict(settings.environment),
            limit=LONGEST_LINE,
            start_new_session=True,
        )
        child = cls(process, settings.stop_seconds)
        child._listening = asyncio.create_task(child._listen())
        sweeping = asyncio.create_task(child._sweep())
        try:
            yield child
        finally:
            await asyncio.shield(asyncio.ensure_future(child.stop()))
            sweeping.cancel()
            child._listening.cancel()

    async def events(self) -> AsyncIterator[dict[str, Any]]:
        """What it reports, line by line; what is no report is passed over."""
        assert self.process.stdout is not None
        async for line in self.process.stdout:
            with suppress(orjson.JSONDecodeError):
                said = orjson.loads(line)
                if isinstance(said, dict):
                    yield said

    async def ended(self) -> int:
        """Its exit code, once it has ended and all that it said is known."""
        assert self._listening is not None
        await self._listening
        return await self.process.wait()

    def said(self) -> str:
        return self.last_words.decode(errors="replace").strip()

    async def stop(self) -> None:
        """SIGTERM cancels it within one batch; what has not ended in time is killed, and whatever
        it had started is killed with it."""
        with suppress(ProcessLookupError):
            if self.process.returncode is None:
                self.process.terminate()
        with suppress(TimeoutError):
            await asyncio.wait_for(self.process.wait(), self.stop_seconds)
        _kill_all(self.process.pid)
        await self.process.wait()

    async def _sweep(self) -> None:
        """Whatever outlives it is killed: by holding a pipe open it would hide the end from us."""
        while self.process.returncode is None:
            await asyncio.sleep(POLL_SECONDS)
        _kill_all(self.process.pid)

    async def _listen(self) -> None:
        assert self.process.stderr is not None
        while piece := await self.process.stderr.read(KEPT_WORDS):
            self.last_words += piece
            del self.last_words[:-KEPT_WORDS]


def process_of(pid: int) -> Process | None:
    """None if it has ended already."""
    with suppress(psutil.Error):
        return Process(pid=pid, started=psutil.Process(pid).create_time())
    return None


def is_alive(process: Process | None) -> bool:
    """Whether this very process runs, not another that was given its id."""
    if process is None:
        return False
    with suppress(psutil.Error):
        found = psutil.Process(process.pid)
        zombie = found.status() == psutil.STATUS_ZOMBIE
        return abs(found.create_time() - process.started) < 0.01 and not zombie
    return False


async def see_off(process: Process | None, seconds: float) -> None:
    """Wait for the end of a child whose service was killed: the kernel has told it to end."""
    loop = asyncio.get_running_loop()
    end = loop.time() + seconds
    while is_alive(process):
        assert process is not None
        if loop.time() > end:
            _kill_all(process.pid)
            end = float("inf")
        await asyncio.sleep(POLL_SECONDS)


def _kill_all(group: int) -> None:
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(group, signal.SIGKILL)
