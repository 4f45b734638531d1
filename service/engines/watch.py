"""Looks at a running engine until it cannot be left running: ended, ill, deaf or stuck."""

import asyncio
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from service.engines.engine import Engine

PROBE_EVERY = 1.0
# Where a request has just failed.
PROBE_AGAIN = 0.05
MISSED_PROBES = 3


@dataclass(frozen=True, slots=True)
class Patience:
    """How long an engine may be silent; 0: for ever.

    `stalled`: seconds without any progress while answers are under way. `idle`: after so many
    without any request it is asked for one token, so that it is not a user who finds it stuck.
    """

    stalled: float = 0.0
    idle: float = 0.0


class Watch:
    """One life of an engine. `/health` alone does not tell: vLLM says 200 while its core hangs."""

    def __init__(self, engine: Engine, patience: Patience) -> None:
        self._engine = engine
        self._patience = patience
        self._doubt = asyncio.Event()
        self._looked = asyncio.Event()
        # The engine's counts, and how long it had been silent when it came to them.
        self._seen: tuple[bytes | None, float] | None = None
        self._knocking: asyncio.Task[bool] | None = None

    async def until_over(self, exited: asyncio.Future[int]) -> str:
        """Wait, and say why this engine has to be replaced."""
        try:
            return await self._look_on(exited)
        finally:
            self._looked.set()
            if self._knocking:
                self._knocking.cancel()

    async def look(self, seconds: float) -> None:
        """Have it looked at now, since a request failed; returns with the verdict."""
        self._doubt.set()
        with suppress(TimeoutError):
            await asyncio.wait_for(self._looked.wait(), seconds)

    async def _look_on(self, exited: asyncio.Future[int]) -> str:
        missed = 0
        while missed < MISSED_PROBES:
            await self._pause(exited)
            health = "silent" if exited.done() else await self._engine.health()
            if exited.done():
                return f"it ended with exit code {exited.result()}"
            if health == "ill":
                return "it says that it is not well"
            missed = missed + 1 if health == "silent" else 0
            if health == "well":
                self._reassured()
                if await self._is_stuck(exited):
                    return f"it made no token for {self._patience.stalled:g} s"
                self._knock()
        return "it does not answer"

    async def _pause(self, exited: asyncio.Future[int]) -> None:
        """Until the next probe, which is due at once when somebody doubts."""
        if self._doubt.is_set():
            await asyncio.wait([exited], timeout=PROBE_AGAIN)
            return
        doubt = asyncio.ensure_future(self._doubt.wait())
        await _first(exited, doubt, PROBE_EVERY)
        doubt.cancel()

    def _reassured(self) -> None:
        if self._doubt.is_set():
            self._doubt.clear()
            self._looked.set()
            self._looked = asyncio.Event()

    async def _is_stuck(self, exited: asyncio.Future[int]) -> bool:
        """Silent for too long, by its bytes, by its own counts, or by a token that never comes.

        Its counts are asked for only when the bytes leave a doubt: a whole answer has none before
        its end, and a long prompt takes many steps.
        """
        pulse, limit = self._engine.pulse, self._patience.stalled
        if not limit or pulse.silent < limit / 2:
            self._seen = None
            return False
        counts = await self._engine.progress()
        if self._seen is None or self._seen[0] != counts:
            if self._seen and counts is not None:
                pulse.beat()
            self._seen = counts, pulse.silent
        if pulse.silent < limit or pulse.silent - self._seen[1] < limit / 2:
            return False
        return counts is not None or not await self._speaks(exited)

    async def _speaks(self, exited: asyncio.Future[int]) -> bool:
        speaking = asyncio.ensure_future(self._engine.speaks(self._patience.stalled))
        try:
            await _first(exited, speaking)
            return speaking.done() and speaking.result()
        finally:
            speaking.cancel()

    def _knock(self) -> None:
        """Ask an idle engine for a token; a silence is then noticed as with any request."""
        limit = self._patience.idle
        if not limit or not self._patience.stalled or self._engine.pulse.idle < limit:
            return
        if self._knocking is None or self._knocking.done():
            seconds = 2 * self._patience.stalled
            self._knocking = asyncio.ensure_future(self._engine.speaks(seconds))


async def _first(
    one: asyncio.Future[Any], other: asyncio.Future[Any], seconds: float | None = None
) -> None:
    """Until either is done, or the time is up."""
    await asyncio.wait([one, other], timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
