"""Reads a body of any length: piece by piece, bounded in bytes and in time, never held whole."""

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass

from fastapi import Request
from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header
from starlette.requests import ClientDisconnect

from service.errors import InvalidRequest, TooLarge, TooSlow
from service.incoming import Incoming

PIECE_BYTES = 256 * 1024
GRACE_SECONDS = 30.0
SLOWEST_BYTES_A_SECOND = 8 * 1024
LONGEST_FIELD = 4096
IGNORED_FIELDS = (b"purpose",)  # OpenAI's files API asks for it
_MIB = 2**20


@dataclass(frozen=True, slots=True)
class Patience:
    """How much is read and for how long. `grace`: before a client must keep up `slowest`."""

    most_bytes: int
    most_seconds: float
    grace: float = GRACE_SECONDS
    slowest: float = SLOWEST_BYTES_A_SECOND


async def receive(request: Request, feed: Callable[[bytes], None], patience: Patience) -> None:
    """Give the body to `feed`, called in a worker thread. TooLarge, TooSlow, or InvalidRequest.

    Only the time in which the client is waited for counts against it.
    """
    check_length(request, patience.most_bytes)
    pieces = request.stream()
    held, size, waited = bytearray(), 0, 0.0
    while True:
        began = time.monotonic()
        allowed = min(patience.most_seconds, patience.grace + size / patience.slowest) - waited
        try:
            async with asyncio.timeout(max(0.0, allowed)):
                piece = await anext(pieces, None)
        except TimeoutError as error:
            raise TooSlow(
                f"{size} bytes came in {waited + allowed:.0f} s", "Send faster"
            ) from error
        except ClientDisconnect as error:
            raise InvalidRequest("The client left before its body ended") from error
        waited += time.monotonic() - began
        held += piece or b""
        size += len(piece or b"")
        if size > patience.most_bytes:
            raise _too_large(patience.most_bytes)
        if held and (piece is None or len(held) >= PIECE_BYTES):
            await asyncio.to_thread(feed, bytes(held))
            held.clear()
        if piece is None:
            return


def check_length(request: Request, most: int) -> None:
    """Refuse what announces itself as too large, before a byte of it is read."""
    announced = request.headers.get("content-length", "0")
    if announced.isdigit() and int(announced) > most:
        raise _too_large(most)


def _too_large(most: int) -> TooLarge:
    return TooLarge(f"The body exceeds {most} bytes ({most / _MIB:.1f} MiB)", "Send less at once")


class Form:
    """A multipart/form-data body whose files go to `incoming` as they are parsed."""

    def __init__(self, content_type: str, incoming: Incoming) -> None:
        kind, options = parse_options_header(content_type)
        if kind != b"multipart/form-data" or not options.get(b"boundary"):
            raise InvalidRequest(
                f"The content type is {content_type or 'missing'!r}",
                "Send multipart/form-data, or PUT one document's bytes to its path",
            )
        self._incoming = incoming
        self._name = self._value = self._disposition = b""
        self._is_file = self._ended = False
        self._field_bytes = 0
        self._parser = MultipartParser(
            options[b"boundary"],
            {
                "on_part_begin": self._part,
                "on_header_field": self._header_name,
                "on_header_value": self._header_value,
                "on_header_end": self._header,
                "on_headers_finished": self._headers,
                "on_part_data": self._content,
                "on_part_end": self._part_end,
                "on_end": self._end,
            },
        )

    def feed(self, piece: bytes) -> None:
        """InvalidRequest if it is no form."""
        try:
            self._parser.write(piece)
        except FormParserError as error:
            raise InvalidRequest(
                f"The form is malformed: {error}", "Send it as curl -F does"
            ) from error

    def finish(self) -> None:
        """After the body: InvalidRequest if the form has not ended with it."""
        if not self._ended:
            raise InvalidRequest("The form ends before its last boundary", "Send it again")

    def _part(self) -> None:
        self._disposition = b""

    def _header_name(self, piece: bytes, start: int, end: int) -> None:
        self._name += piece[start:end]

    def _header_value(self, piece: bytes, start: int, end: int) -> None:
        self._value += piece[start:end]

    def _header(self) -> None:
        if self._name.lower() == b"content-disposition":
            self._disposition = self._value
        self._name = self._value = b""

    def _headers(self) -> None:
        _, options = parse_options_header(self._disposition)
        self._is_file = b"filename" in options
        self._field_bytes = 0
        if self._is_file:
            self._incoming.begin(_text(options[b"filename"]))
        elif options.get(b"name") not in IGNORED_FIELDS:
            name = _text(options.get(b"name", b""))
            raise InvalidRequest(f"The field '{name}' is no file", "Send files only", param=name)

    def _content(self, piece: bytes, start: int, end: int) -> None:
        if self._is_file:
            self._incoming.write(piece[start:end])
            return
        self._field_bytes += end - start
        if self._field_bytes > LONGEST_FIELD:
            raise TooLarge("A field that is no file is too long", "Send files only")

    def _part_end(self) -> None:
        if self._is_file:
            self._incoming.end()

    def _end(self) -> None:
        self._ended = True


def _text(name: bytes) -> str:
    try:
        return name.decode()
    except UnicodeDecodeError as error:
        raise InvalidRequest(f"The name {name!r} is not in UTF-8", "Send it in UTF-8") from error
