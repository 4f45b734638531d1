"""Our own faults: a 500 that looks like every other error, its traceback in the log alone.

Starlette answers them outside of all middleware, where no header of ours would be added.
"""

import logging

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from service.api.wire import error_response
from service.errors import ServiceError

log = logging.getLogger("dslm")


class Unbroken:
    """Pure ASGI. After the first byte nothing can be said any more: the connection is closed."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        begun = False

        async def note(message: Message) -> None:
            nonlocal begun
            begun = True
            await send(message)

        try:
            await self._app(scope, receive, note)
        except Exception:  # whatever it is, the client is owed an answer
            if begun or scope["type"] != "http":
                raise
            log.exception("%s %s failed", scope["method"], scope["path"])
            error = ServiceError("The service failed", "See its log")
            await error_response(error)(scope, receive, send)
