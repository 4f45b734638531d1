"""HTTP/1.1 with bounds: how large a request's head may be, and how long it may take to come.

uvicorn over httptools has none: a header that never ends would fill the memory, and a client that
never ends its head would keep its connection for ever. What two servers could read in two ways is
refused as well: the parser does so for lengths and line ends, this module for hosts and encodings.
Every refusal here is the last of its connection, and has OpenAI's envelope as any other error.
"""

import asyncio
from collections.abc import Iterable
from http import HTTPStatus

import orjson
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from service.api.security import HEADERS
from service.errors import HeadTooLarge, InvalidRequest, TooSlow, envelope, status_of

LARGEST_HEAD = 32 * 1024
MOST_HEADERS = 100
HEAD_SECONDS = 20.0
VERSIONS = ("1.0", "1.1")


class BoundedProtocol(HttpToolsProtocol):
    """One connection. A head too large, too slow or ambiguous is refused, the connection closed."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._in_head = False
        self._pending = 0
        self._size = 0
        self._count = 0
        self._deadline: asyncio.TimerHandle | None = None
        self._start_timer()

    def connection_lost(self, exc: Exception | None) -> None:
        self._stop_timer()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        begun = self._in_head
        super().data_received(data)
        if begun and self._in_head:
            self._pending += len(data)
            if self._pending > LARGEST_HEAD:
                self._refuse(_too_large())

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self._in_head, self._pending, self._size, self._count = True, 0, 0, 0
        self._start_timer()

    def on_url(self, url: bytes) -> None:
        super().on_url(url)
        self._measure(len(url))

    def on_header(self, name: bytes, value: bytes) -> None:
        super().on_header(name, value)
        self._count += 1
        self._measure(len(name) + len(value))

    def on_headers_complete(self) -> None:
        self._in_head = False
        self._stop_timer()
        if wrong := wrong_head(self.headers, self.parser.get_http_version()):
            self._refuse(InvalidRequest(f"The request's head is wrong: {wrong}"))
        if not self.transport.is_closing():
            super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        if not self.transport.is_closing():
            super().on_body(body)

    def on_message_complete(self) -> None:
        if not self.transport.is_closing():
            super().on_message_complete()

    def send_400_response(self, msg: str) -> None:
        """The parser gave up: uvicorn would send plain text."""
        self._refuse(InvalidRequest("What was sent is no HTTP request", "Send HTTP/1.1"))

    def _measure(self, size: int) -> None:
        """Also where head and body come in one piece."""
        self._size += size
        if self._count > MOST_HEADERS or self._size > LARGEST_HEAD:
            self._refuse(_too_large())

    def _start_timer(self) -> None:
        self._stop_timer()
        loop = asyncio.get_running_loop()
        error = TooSlow("The request's head took too long", "Send it at once")
        self._deadline = loop.call_later(HEAD_SECONDS, self._refuse, error)

    def _stop_timer(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None

    def _refuse(self, error: InvalidRequest) -> None:
        self._stop_timer()
        if self.transport.is_closing():
            return
        body = orjson.dumps(envelope(error))
        status = HTTPStatus(status_of(error))
        headers = [(b"content-type", b"application/json"), *HEADERS, (b"connection", b"close")]
        headers.append((b"content-length", b"%d" % len(body)))
        lines = [b"HTTP/1.1 %d %b" % (status, status.phrase.encode())]
        lines += [b"%b: %b" % pair for pair in headers]
        self.transport.write(b"\r\n".join([*lines, b"", body]))
        self.transport.close()


def wrong_head(headers: Iterable[tuple[bytes, bytes]], version: str) -> str:
    """What two servers in a row could understand differently; empty where nothing is."""
    hosts = encodings = 0
    coded = b"chunked"
    for name, value in headers:
        if name == b"host":
            hosts += 1
        elif name == b"transfer-encoding":
            encodings += 1
            coded = value.strip().lower()
    if version not in VERSIONS:
        return f"HTTP/{version} is not spoken"
    if hosts > 1 or (hosts == 0 and version == "1.1"):
        return f"it has {hosts} Host headers"
    if encodings and (coded != b"chunked" or version == "1.0"):
        return f"a Transfer-Encoding of {coded[:40]!r} in HTTP/{version}"
    return ""


def _too_large() -> HeadTooLarge:
    most = f"{LARGEST_HEAD} bytes and {MOST_HEADERS} headers"
    return HeadTooLarge(f"The request's head exceeds {most}", "Send less in it")
