"""What is under way, and whether anything new is let in: the gate that a stop closes."""

import asyncio
from contextlib import suppress

from starlette.types import ASGIApp, Receive, Scope, Send

from service.api.wire import Json, error_response
from service.errors import STOPPING_SECONDS, Stopping

READING = frozenset({"GET", "HEAD"})


class Drain:
    """Owns whether the service is stopping, and counts the requests under way."""

    def __init__(self) -> None:
        self.begun = False
        self.under_way = 0
        self._hurried = asyncio.Event()
        self._empty = asyncio.Event()
        self._empty.set()

    def begin(self) -> None:
        """From now on nothing new is let in."""
        self.begun = True

    def hurry(self) -> None:
        """Do not wait for what is under way any longer."""
        self._hurried.set()

    async def wait(self, seconds: float) -> None:
        """Until nothing is under way, the time is up, or somebody is in a hurry."""
        waits = [asyncio.ensure_future(event.wait()) for event in (self._empty, self._hurried)]
        await asyncio.wait(waits, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
        for wait in waits:
            wait.cancel()

    async def wait_for_farewells(self, seconds: float) -> None:
        """Until nothing is under way, or the time is up: the last words are being sent."""
        with suppress(TimeoutError):
            await asyncio.wait_for(self._empty.wait(), seconds)

    def enter(self) -> None:
        self.under_way += 1
        self._empty.clear()

    def leave(self) -> None:
        self.under_way -= 1
        if not self.under_way:
            self._empty.set()


class Draining:
    """Pure ASGI. While the service stops only what reads its state is let in."""

    def __init__(self, app: ASGIApp, drain: Drain) -> None:
        self._app = app
        self._drain = drain

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        if self._drain.begun and (scope["path"] == "/ready" or scope["method"] not in READING):
            await _refusal(scope["path"])(scope, receive, send)
            return
        self._drain.enter()
        try:
            await self._app(scope, receive, send)
        finally:
            self._drain.leave()


def _refusal(path: str) -> Json:
    """`/ready` says no in its own words. The connection is closed: another service may be asked."""
    retry = {"Retry-After": str(round(STOPPING_SECONDS))}
    ready = Json({"ready": False, "stopping": True}, 503, retry)
    response = ready if path == "/ready" else error_response(Stopping())
    response.headers["Connection"] = "close"
    return response
