"""HTTP/1.1 with bounds: how large a request's head may be, and how long it may take to come.

uvicorn over httptools has none: a header that never ends would fill the memory, and a client that
never ends its head would keep its connection for ever.
"""

import asyncio

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

LARGEST_HEAD = 32 * 1024
MOST_HEADERS = 100
HEAD_SECONDS = 20.0
TOO_LARGE = "431 Request Header Fields Too Large"
TOO_SLOW = "408 Request Timeout"


class BoundedProtocol(HttpToolsProtocol):
    """One connection. A head too large or too slow is refused and the connection closed."""

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
                self._refuse(TOO_LARGE)

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
        if not self.transport.is_closing():
            super().on_headers_complete()

    def _measure(self, size: int) -> None:
        """Also where head and body come in one piece."""
        self._size += size
        if self._count > MOST_HEADERS or self._size > LARGEST_HEAD:
            self._refuse(TOO_LARGE)

    def _start_timer(self) -> None:
        self._stop_timer()
        loop = asyncio.get_running_loop()
        self._deadline = loop.call_later(HEAD_SECONDS, self._refuse, TOO_SLOW)

    def _stop_timer(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None

    def _refuse(self, status: str) -> None:
        self._stop_timer()
        if self.transport.is_closing():
            return
        head = f"HTTP/1.1 {status}\r\nconnection: close\r\ncontent-length: 0\r\n\r\n"
        self.transport.write(head.encode())
        self.transport.close()
