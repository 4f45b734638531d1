"""Sends server-sent events and notices at once when the client has gone."""

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine
from typing import Any, TypeVar

from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from service.api.security import PUT
from service.phases import Clock

Answer = TypeVar("Answer")
GONE = 499
STALLED_SECONDS = 30.0


class EventStream(Response):
    """Runs `body` until its end or the client's; `close` runs once, with 200 or 499.

    `clock` is told when the first part goes out.
    """

    media_type = "text/event-stream"

    def __init__(
        self,
        body: Callable[[], AsyncIterator[bytes]],
        close: Callable[[int], None],
        clock: Clock | None = None,
    ) -> None:
        self._body = body
        self._close = close
        self._clock = clock or Clock()
        self._writing = False
        self._sent = 0
        self.status_code = 200
        self.background = None
        self.init_headers({"Cache-Control": "no-cache", "X-Accel-Buffering": "no"})
        del self.headers["content-length"]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        sending = asyncio.ensure_future(self._send(send, scope.get(PUT, send)))
        leaving = asyncio.ensure_future(gone(receive))
        status = GONE
        try:
            await self._until_over(sending, leaving)
            if sending.done():
                sending.result()
                status = 200
        finally:
            sending.cancel()
            leaving.cancel()
            await asyncio.gather(sending, leaving, return_exceptions=True)
            self._close(status)

    async def _until_over(self, *either: asyncio.Future[None]) -> None:
        """Or until the client has not read for too long: it would hold its place for ever."""
        seen = -1
        while True:
            wait = asyncio.wait(
                either, timeout=STALLED_SECONDS, return_when=asyncio.FIRST_COMPLETED
            )
            if (await wait)[0] or (self._writing and self._sent == seen):
                return
            seen = self._sent

    async def _send(self, send: Send, put: Send) -> None:
        """The head through every layer, the rest past those that look at heads alone."""
        head = {"type": "http.response.start", "status": 200, "headers": self.raw_headers}
        await send(head)
        async for part in self._body():
            if not self._sent:
                self._clock.mark_first()
            self._writing = True
            await put({"type": "http.response.body", "body": part, "more_body": True})
            self._writing = False
            self._sent += 1
        await put({"type": "http.response.body", "body": b"", "more_body": False})


async def unless_gone(
    request: Request,
    answering: Coroutine[Any, Any, Answer],
    discard: Callable[[Answer], object] | None = None,
) -> Answer | None:
    """The answer, or None if the client left first; then the engine's connection is closed.

    `discard` gets what came of `answering` although nobody waits for it any more.
    """
    task = asyncio.ensure_future(answering)
    leaving = asyncio.ensure_future(gone(request.receive))
    handed = False
    try:
        await asyncio.wait({task, leaving}, return_when=asyncio.FIRST_COMPLETED)
        handed = task.done()
        return task.result() if handed else None
    finally:
        task.cancel()
        leaving.cancel()
        await asyncio.gather(task, leaving, return_exceptions=True)
        if discard and not handed and not task.cancelled() and not task.exception():
            discard(task.result())


async def gone(receive: Receive) -> None:
    """Return when the client has closed the connection."""
    while (await receive())["type"] != "http.disconnect":
        pass
