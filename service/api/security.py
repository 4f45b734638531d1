"""Headers that every response carries, HEAD for whatever can be got, and browsers kept out.

Pure ASGI: a layer that buffers or wraps responses would cost more than the rest of a relay.
"""

import uuid

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from service.api.wire import error_response
from service.errors import Forbidden

# An answer is never a page: nothing in it may run, be framed, be sniffed or be kept.
HEADERS = (
    (b"x-content-type-options", b"nosniff"),
    (b"content-security-policy", b"default-src 'none'; frame-ancestors 'none'"),
    (b"referrer-policy", b"no-referrer"),
    (b"cross-origin-resource-policy", b"same-origin"),
)


class SafeHeaders:
    """Adds the headers above and a request id, and answers HEAD as GET without a body."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        request_id = b"req_" + uuid.uuid4().hex.encode()
        is_head = scope["method"] == "HEAD"

        async def add(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(raw=list(message["headers"]))
                for name, value in HEADERS:
                    headers.setdefault(name.decode(), value.decode())
                headers["x-request-id"] = request_id.decode()
                message["headers"] = headers.raw
            elif is_head:
                message["body"] = b""
            await send(message)

        await self._app({**scope, "method": "GET"} if is_head else scope, receive, add)


class Origins:
    """Refuses requests that a web page of another origin sends through somebody's browser.

    Without keys a page could otherwise have a service on loopback indexed or changed: what it
    cannot read it can still send.
    """

    def __init__(self, app: ASGIApp, allowed: tuple[str, ...]) -> None:
        self._app = app
        self._allowed = frozenset(allowed)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            headers = Headers(scope=scope)
            origin = headers.get("origin")
            if origin is not None and not self._is_known(origin, headers.get("host", "")):
                error = Forbidden(
                    f"Requests of the origin {origin[:100]} are not allowed",
                    "Set DSLM_CORS_ORIGINS",
                )
                await error_response(error)(scope, receive, send)
                return
        await self._app(scope, receive, send)

    def _is_known(self, origin: str, host: str) -> bool:
        return bool(self._allowed & {origin, "*"}) or origin.partition("://")[2] == host
