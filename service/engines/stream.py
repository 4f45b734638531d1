"""An answer as it comes from an engine: its events, and what went wrong before the first."""

from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager

import aiohttp
import orjson

from service.engines.pulse import Pulse
from service.errors import EngineRejected, EngineTimeout, ServiceError, Unavailable

CORE_ENDED = "EngineCore encountered an issue"  # vLLM's EngineDeadError


class EngineFailed(Unavailable):
    """The engine said that it failed; `said` in its own words."""

    def __init__(self, said: str, param: str | None = None) -> None:
        super().__init__(f"The engine failed: {said}", "Try again", param=param, retry_after=1)
        self.said = said

    @property
    def is_death(self) -> bool:
        """Its server lives on for a moment after its core has ended."""
        return self.said.startswith(CORE_ENDED)


class EngineStream:
    """A streamed answer of the engine. Closing it before its end makes the engine abort it."""

    def __init__(
        self,
        reply: aiohttp.ClientResponse,
        first: bytes,
        pulse: Pulse,
        others: set["EngineStream"],
    ) -> None:
        self._reply = reply
        self._first = first
        self._pulse = pulse
        self._others = others
        others.add(self)
        pulse.begin()

    async def events(self) -> AsyncIterator[list[bytes]]:
        """The payloads of server-sent events, those that arrived together in one list."""
        rest, beat = b"", self._pulse.beat
        received = self._first
        with transport_errors():
            while received:
                *whole, rest = (rest + received.replace(b"\r", b"")).split(b"\n\n")
                yield [event[6:] for event in whole if event.startswith(b"data: ")]
                received = await self._reply.content.readany()
                beat()

    def interrupt(self, error: ServiceError) -> None:
        """Whoever reads it gets `error`."""
        self._reply.content.set_exception(error)

    def close(self) -> None:
        """Not async: it also runs where a client's going away cancels every await."""
        self._reply.close()
        if self in self._others:
            self._others.remove(self)
            self._pulse.end()


async def beginning(reply: aiohttp.ClientResponse, events: int) -> bytes:
    """What came first, with so many whole events in it; raises if one of them is an error.

    vLLM sends a role before it knows whether it can compile the form that was asked for.
    """
    came = b""
    while came.count(b"\n\n") < events and (more := await reply.content.readany()):
        came += more.replace(b"\r", b"")
    for event in came.split(b"\n\n")[:events]:
        if event.startswith(b'data: {"error"'):
            raise failure(_code(event[6:]), event[6:])
    if came.count(b"\n\n") < events:
        raise Unavailable("The engine ended the answer before it began", "Try again")
    return came


def failure(status: int, body: bytes) -> EngineRejected | EngineFailed:
    """What an answer of the engine with this status means."""
    said, param = _message(body)
    if status < 500:
        return EngineRejected(status, said, param)
    return EngineFailed(said, param)


@contextmanager
def transport_errors() -> Iterator[None]:
    """Turn what the transport raises into our errors."""
    try:
        yield
    except (aiohttp.SocketTimeoutError, TimeoutError) as error:
        raise EngineTimeout(
            "The engine was silent for too long", "Ask for fewer tokens, or try again"
        ) from error
    except aiohttp.ClientError as error:
        raise Unavailable("The engine went away", "Try again", retry_after=1) from error


def _code(body: bytes) -> int:
    """The status that an error within a stream would have had; 500 where it does not tell."""
    try:
        return int(orjson.loads(body)["error"]["code"])
    except (orjson.JSONDecodeError, KeyError, TypeError, ValueError):
        return 500


def _message(body: bytes) -> tuple[str, str | None]:
    try:
        error = orjson.loads(body)["error"]
        return str(error["message"]), error.get("param")
    except (orjson.JSONDecodeError, KeyError, TypeError):
        return body[:300].decode(errors="replace"), None
