"""Keeps the engine alive: starts it, watches it, restarts it, and says whether it is ready."""

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable
from typing import Literal

from service.engines.engine import Engine
from service.engines.process import EngineHost
from service.engines.watch import PROBE_EVERY, Patience, Watch
from service.errors import Unavailable
from service.telemetry import EngineMeters

log = logging.getLogger("dslm.engine")
State = Literal["starting", "ready", "down", "failed", "stopped"]
CRASH_WINDOW = 600.0
BACKOFF = (1.0, 2.0, 4.0, 8.0, 15.0, 30.0)
STOP_GRACE = 15.0
# An engine that never came up will hardly do so the fifth time.
NEVER_READY = 2
# How long a request that failed waits for the verdict on its engine.
LOOK_SECONDS = 2.0
# How long an engine of an earlier service may take to leave our address.
VACATE_SECONDS = 30.0


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
        patience: Patience | None = None,
    ) -> None:
        self._engine = engine
        self._host = host
        self._on_ready = on_ready
        self._on_end = on_end
        self._meters = meters
        self._start_seconds = start_seconds
        self._crash_limit = crash_limit
        self._patience = patience or Patience()
        self._watch: Watch | None = None
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

    async def look(self) -> None:
        """A request failed: have the engine looked at now. Returns with the verdict, in `state`."""
        if self._watch:
            await self._watch.look(LOOK_SECONDS)

    def last_words(self) -> str:
        """The end of what the engine printed."""
        return self._host.last_words()

    async def run(self) -> None:
        """Until cancelled, or until the engine has crashed too often."""
        try:
            while await self._one_life():
                tries = max(1, len(self._crashes))
                await asyncio.sleep(BACKOFF[min(tries, len(BACKOFF)) - 1])
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
        reason = await self._live()
        self._enter("down")
        log.error("the engine is ended: %s", reason)
        self._on_end()
        # One that hangs would keep them waiting; a server of somebody else is not ended by us.
        self._engine.interrupt(Unavailable("The engine went away", "Try again", retry_after=1))
        await self._host.stop(0)
        log.error("the last words of the engine:\n%s", self._host.last_words())
        return self._may_restart()

    async def _live(self) -> str:
        """From its start to the reason of its end."""
        if self._host.is_ours and not await self._vacated():
            return f"something else answers at {self._engine.url}"
        try:
            await self._host.start()
        except OSError as error:  # no memory for another process, say: that may pass
            return f"it cannot be started: {error}"
        exited = asyncio.ensure_future(self._host.exited())
        try:
            if not await self._becomes_ready(exited):
                return f"it did not come up within {self._start_seconds:g} s"
            self._was_ready = True
            self._engine.pulse.beat()
            self._watch = Watch(self._engine, self._patience)
            self._enter("ready")
            return await self._watch.until_over(exited)
        finally:
            self._watch = None
            exited.cancel()

    async def _vacated(self) -> bool:
        """Wait until nobody answers where the engine will: it might be taken for it."""
        end = time.monotonic() + VACATE_SECONDS
        while await self._engine.health() != "silent":
            if time.monotonic() > end:
                return False
            await asyncio.sleep(PROBE_EVERY)
        return True

    async def _becomes_ready(self, exited: asyncio.Future[int]) -> bool:
        began = time.monotonic()
        while not exited.done() and time.monotonic() - began < self._start_seconds:
            if await self._engine.healthy() and await self._reconciled() and await self._speaks():
                self._started_in = time.monotonic() - began
                return True
            await asyncio.wait([exited], timeout=PROBE_EVERY / 4)
        return False

    async def _speaks(self) -> bool:
        """After a life that ended health is not believed, nor does a user wait for a cold start."""
        return not self._was_ready or await self._engine.speaks(self._patience.stalled or 30.0)

    async def _reconciled(self) -> bool:
        try:
            await self._on_ready()
        except Exception as error:  # whatever it is, the next try may be better
            log.warning("adapters could not be loaded yet: %r", error)
            return False
        return True

    def _may_restart(self) -> bool:
        if not self._host.is_ours:
            return True
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
