"""Where an engine runs: a vLLM child of ours, or a server that somebody else runs."""

import asyncio
import os
import signal
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Protocol

TAIL_BYTES = 4000


class EngineHost(Protocol):
    """Starts an engine, tells when it has ended, and ends it. `is_ours`: it can do so."""

    @property
    def is_ours(self) -> bool: ...
    async def start(self) -> None: ...
    async def exited(self) -> int: ...
    async def stop(self, grace: float) -> None: ...
    def last_words(self) -> str: ...


class ElsewhereHost:
    """An engine that somebody else starts and stops: there is only its address."""

    is_ours = False

    async def start(self) -> None:
        return

    async def exited(self) -> int:
        return await asyncio.Event().wait() and 0

    async def stop(self, grace: float) -> None:
        return

    def last_words(self) -> str:
        return ""


class EngineProcess:
    """One vLLM child in a process group of its own; its output goes to `log`.

    Its standard input stays open as long as this process lives: by its end the child learns that
    the service is gone, even if that was killed (`launch.py`).
    """

    is_ours = True

    def __init__(self, command: Sequence[str], environment: Mapping[str, str], log: Path) -> None:
        self._command = command
        self._environment = environment
        self._log = log
        self._child: asyncio.subprocess.Process | None = None

    @property
    def pid(self) -> int | None:
        return self._child.pid if self._child else None

    async def start(self) -> None:
        """A group of its own: Ctrl-C reaches the service first, which drains and then stops it.

        The log of the life before is kept beside: it tells why that ended.
        """
        self._log.parent.mkdir(parents=True, exist_ok=True)
        with suppress(FileNotFoundError):
            self._log.replace(self._log.with_suffix(".before.log"))
        with self._log.open("wb") as log:
            self._child = await asyncio.create_subprocess_exec(
                *self._command,
                stdin=asyncio.subprocess.PIPE,
                stdout=log,
                stderr=log,
                env=dict(self._environment),
                start_new_session=True,
            )

    async def exited(self) -> int:
        """Wait for the end, whatever its code: vLLM's engine may die with exit code 0."""
        assert self._child is not None
        return await self._child.wait()

    async def stop(self, grace: float) -> None:
        """SIGTERM, `grace` seconds, then SIGKILL to the whole group: no worker outlives it."""
        child = self._child
        if child is None:
            return
        if child.returncode is None:
            self._signal(signal.SIGTERM)
            try:
                await asyncio.wait_for(child.wait(), grace)
            except TimeoutError:
                pass
        self._signal(signal.SIGKILL)
        await child.wait()

    def last_words(self) -> str:
        """The end of what the child printed."""
        try:
            return self._log.read_bytes()[-TAIL_BYTES:].decode(errors="replace")
        except OSError:
            return ""

    def _signal(self, number: int) -> None:
        assert self._child is not None
        try:
            os.killpg(self._child.pid, number)
        except ProcessLookupError:
            return
