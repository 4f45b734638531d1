"""Keeps the engine alive: starts it, watches it, restarts it, and says whether it is ready."""

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable
from typing import Literal

from service.engines.engine import Engine
from service.engines.process import EngineHost
from service.errors import ServiceError, Unavailable
from service.telemetry import EngineMeters

log = logging.getLogger("dslm.engine")
State = Literal["starting", "ready", "down", "failed", "stopped"]
PROBE_EVERY = 1.0
MISSED_PROBES = 3
CRASH_WINDOW = 600.0
BACKOFF = (1.0, 2.0, 4.0, 8.0, 15.0, 30.0)
STOP_GRACE = 15.0
# An engine that never came up will hardly do so the fifth time.
NEVER_READY = 2


class EngineSupervisor:
    """Owns the engine's state.

    `on_ready` runs before any request is let through, `on_end` after the engine's end.
    """

    def __init__(
        self,
        engine: Engine,
        host: EngineHost,
        on_ready: Callable[[], Awaitable[None]],
        on_end: Callable[[], None],
        meters: EngineMeters,
        *,
        start_seconds: float,
        crash_limit: int,
    ) -> None:
        self._engine = engine
        self._host = host
        self._on_ready = on_ready
        self._on_end = on_end
        self._meters = meters
        self._start_seconds = start_seconds
        self._crash_limit = crash_limit
        self._crashes: list[float] = []
        self._started_in = 30.0
        self._was_ready = False
        self._since = time.monotonic()
        self.changed = asyncio.Event()
        self.state: State = "starting"

    def require_ready(self) -> None:
        """Raise Unavailable, with the time until it is likely to be back."""
        if self.state == "failed":
            raise Unavailable(
                "The engine crashed too often", "See the engine's log", retry_after=60
            )
        if self.state != "ready":
            left = self._started_in - (time.monotonic() - self._since)
            raise Unavailable(
                "The engine is starting", "Try again later", retry_after=max(1.0, left)
            )

    @property
    def ready(self) -> bool:
        return self.state == "ready"

    @property
    def failed(self) -> bool:
        """Crashed too often: it will not be started again."""
        return self.state == "failed"

    def last_words(self) -> str:
        """The end of what the engine printed."""
        return self._host.last_words()

    async def run(self) -> None:
        """Until cancelled, or until the engine has crashed too often."""
        try:
            while await self._one_life():
                await asyncio.sleep(BACKOFF[min(len(self._crashes), len(BACKOFF)) - 1])
                self._meters.engine_restarts.inc()
            self._enter("failed")
        except Exception:  # whatever it is, nobody else would notice that supervision has ended
            log.exception("the engine cannot be supervised any more")
            self._enter("failed")
        finally:
            await self._host.stop(STOP_GRACE)
            if self.state != "failed":
                self._enter("stopped")

    async def _one_life(self) -> bool:
        """Start it and stay until it ends. False once it has crashed too often."""
        self._enter("starting")
        await self._host.start()
        exited = asyncio.ensure_future(self._host.exited())
        try:
            if await self._becomes_ready(exited):
                self._was_ready = True
                self._enter("ready")
                await self._stays_well(exited)
        finally:
            exited.cancel()
        self._enter("down")
        self._on_end()
        await self._host.stop(0)
        log.error("the engine ended\n%s", self._host.last_words())
        return self._may_restart()

    async def _becomes_ready(self, exited: asyncio.Future[int]) -> bool:
        began = time.monotonic()
        while not exited.done() and time.monotonic() - began < self._start_seconds:
            if await self._engine.healthy() and await self._reconciled():
                self._started_in = time.monotonic() - began
                return True
            await asyncio.wait([exited], timeout=PROBE_EVERY / 4)
        return False

    async def _reconciled(self) -> bool:
        try:
            await self._on_ready()
        except ServiceError as error:
            log.warning("adapters could not be loaded yet: %s", error)
            return False
        return True

    async def _stays_well(self, exited: asyncio.Future[int]) -> None:
        missed = 0
        while not exited.done() and missed < MISSED_PROBES:
            await asyncio.wait([exited], timeout=PROBE_EVERY)
            missed = 0 if await self._engine.healthy() else missed + 1

    def _may_restart(self) -> bool:
        now = time.monotonic()
        self._crashes = [t for t in self._crashes if now - t < CRASH_WINDOW] + [now]
        limit = self._crash_limit if self._was_ready else min(self._crash_limit, NEVER_READY)
        return len(self._crashes) < limit

    def _enter(self, state: State) -> None:
        self.state = state
        self._since = time.monotonic()
        self._meters.engine_ready.set(state == "ready")
        self.changed.set()
        self.changed = asyncio.Event()
        log.info("engine: %s", state)
