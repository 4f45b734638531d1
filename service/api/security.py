"""Headers that every response carries, HEAD for whatever can be got, and browsers kept out.

Pure ASGI: a layer that buffers or wraps responses would cost more than the rest of a relay.
"""

import random
import re
from collections.abc import Iterable

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from service.api.wire import error_response
from service.errors import Forbidden
from service.logs import REQUEST_ID

PUT = "dslm.put"
REQUEST_HEADER = b"x-request-id"
SANE_ID = re.compile(rb"[A-Za-z0-9][A-Za-z0-9._:-]{0,127}")

# An answer is never a page: nothing in it may run, be framed, be sniffed or be kept.
HEADERS = (
    (b"x-content-type-options", b"nosniff"),
    (b"content-security-policy", b"default-src 'none'; frame-ancestors 'none'"),
    (b"referrer-policy", b"no-referrer"),
    (b"cross-origin-resource-policy", b"same-origin"),
)


class SafeHeaders:
    """Adds the headers above and a request id, and answers HEAD as GET without a body.

    A layer costs a call for every chunk of a stream, so the server's own `send` is handed down as
    well, by the name of `PUT`: what needs no layer any more is sent by that.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        request_id = request_id_of(scope)
        is_head = scope["method"] == "HEAD"
        REQUEST_ID.set(request_id)

        async def add(message: Message) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = _complete(message["headers"], request_id)
            elif is_head:
                message["body"] = b""
            await send(message)

        inner = {**scope, "method": "GET"} if is_head else {**scope, PUT: send}
        await self._app(inner, receive, add)


def request_id_of(scope: Scope) -> str:
    """The client's own if it is short and plain, since it will stand in logs; else a new one."""
    for name, value in scope["headers"]:
        if name == b"x-request-id" and SANE_ID.fullmatch(value):
            return str(value.decode())
    return f"req_{random.getrandbits(128):032x}"


def _complete(headers: Iterable[tuple[bytes, bytes]], request_id: str) -> list[tuple[bytes, bytes]]:
    mine = [(name, value) for name, value in headers if name != REQUEST_HEADER]
    there = {name for name, _ in mine}
    mine += [pair for pair in HEADERS if pair[0] not in there]
    return [*mine, (REQUEST_HEADER, request_id.encode())]


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
