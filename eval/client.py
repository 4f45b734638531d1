"""Async HTTP client of the service, or of any OpenAI-compatible endpoint."""

import asyncio
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from types import TracebackType
from typing import Any, ClassVar, Self, cast
from urllib.parse import quote

import httpx
import orjson

from eval.answer import Answer, Piece, gather_pieces, read_answer, read_piece
from indexer.errors import DslmError

TRIES = 4
RETRIED = frozenset({429, 503})
MAX_WAIT = 20.0
Message = Mapping[str, str]
Options = Mapping[str, Any]


class ServiceAway(DslmError):
    """Nothing answers at the address."""

    exit_code: ClassVar[int] = 5


class ServiceRefused(DslmError):
    """The service answered with an error status."""

    exit_code: ClassVar[int] = 6

    def __init__(self, status: int, message: str) -> None:
        super().__init__(f"The service answered {status}: {message}")
        self.status = status


class StreamBroken(DslmError):
    """A stream ended with an error event."""

    exit_code: ClassVar[int] = 6


class StreamCut(StreamBroken):
    """A stream ended without its `[DONE]`, and nobody said why."""


class Client:
    """At most `concurrency` requests at a time; a 429 or 503 is tried again as it asks."""

    def __init__(
        self,
        url: str,
        *,
        concurrency: int = 4,
        seconds: float = 300.0,
        transport: httpx.AsyncBaseTransport | None = None,
        key: str | None = None,
    ) -> None:
        self.url = url.rstrip("/")
        self._gate = asyncio.Semaphore(concurrency)
        # trust_env off: a proxy of the machine must never come between us and a local service.
        self._http = httpx.AsyncClient(
            base_url=self.url,
            timeout=seconds,
            transport=transport,
            trust_env=False,
            headers={"Authorization": f"Bearer {key}"} if key else None,
        )

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self._http.aclose()

    async def chat(
        self, name: str, messages: Sequence[Message], options: Options | None = None
    ) -> Answer:
        """One answer of the domain, release or base called `name`."""
        body = {"model": name, "messages": list(messages), **(options or {})}
        async with self._gate:
            began = time.perf_counter()
            reply = await self._json("POST", "/v1/chat/completions", body)
            return read_answer(reply, time.perf_counter() - began)

    async def complete(self, name: str, prompt: str, options: Options) -> dict[str, Any]:
        """A legacy completion, as it came: what goes on with a bare text."""
        async with self._gate:
            return await self._json(
                "POST", "/v1/completions", {"model": name, "prompt": prompt, **options}
            )

    @asynccontextmanager
    async def stream(
        self, name: str, messages: Sequence[Message], options: Options | None = None
    ) -> AsyncIterator[AsyncIterator[Piece]]:
        """The pieces as they come; leaving the block early closes the connection."""
        body = {"model": name, "messages": list(messages), "stream": True, **(options or {})}
        async with self._gate, self._opened(body) as response:
            if response.status_code != 200:
                raise _refusal(response.status_code, await response.aread())
            yield _pieces(response)

    async def streamed(
        self, name: str, messages: Sequence[Message], options: Options | None = None
    ) -> Answer:
        """Read a stream to its end."""
        began = time.perf_counter()
        async with self.stream(name, messages, options) as pieces:
            seen = [piece async for piece in pieces]
        return gather_pieces(seen, time.perf_counter() - began)

    async def set_adapter(self, domain: str, adapter: str | None) -> dict[str, Any]:
        return await self._json("PUT", f"/v1/domains/{domain}/adapter", {"adapter": adapter})

    async def rollback(self, domain: str) -> dict[str, Any]:
        return await self._json("POST", f"/v1/domains/{domain}/rollback")

    async def domain(self, name: str) -> dict[str, Any]:
        return await self._json("GET", f"/v1/domains/{name}")

    async def document(self, domain: str, path: str) -> str:
        """The text that citations of this document point into."""
        found = await self._json("GET", f"/v1/domains/{domain}/documents/{quote(path)}")
        return cast(str, found["text"])

    async def is_ready(self) -> bool:
        """False also while nothing listens yet."""
        try:
            return (await self._http.get("/ready")).status_code == 200
        except httpx.TransportError:
            return False

    async def engines_ready(self, base: str) -> int:
        """How many engines of a base answer."""
        health = await self._json("GET", "/health")
        return int(health["engines"][base]["ready"])

    async def post(self, path: str, body: Any) -> None:
        """A call whose answer does not matter, such as vLLM's `load_lora_adapter`."""
        response = await self._sent("POST", path, body)
        if response.status_code >= 400:
            raise _refusal(response.status_code, response.content)

    async def _json(self, method: str, path: str, body: Any = None) -> dict[str, Any]:
        for attempt in range(1, TRIES + 1):
            response = await self._sent(method, path, body)
            if response.status_code < 400:
                break
            if response.status_code not in RETRIED or attempt == TRIES:
                raise _refusal(response.status_code, response.content)
            await asyncio.sleep(_patience(response.headers.get("retry-after", "")))
        return cast(dict[str, Any], orjson.loads(response.content))

    async def _sent(self, method: str, path: str, body: Any) -> httpx.Response:
        try:
            return await self._http.request(method, path, json=body)
        except httpx.TransportError as error:
            raise self._away(error) from error

    @asynccontextmanager
    async def _opened(self, body: Any) -> AsyncIterator[httpx.Response]:
        try:
            async with self._http.stream("POST", "/v1/chat/completions", json=body) as response:
                yield response
        except httpx.TransportError as error:
            raise self._away(error) from error

    def _away(self, error: httpx.TransportError) -> ServiceAway:
        return ServiceAway(
            f"No service at {self.url} ({type(error).__name__})",
            "Start one with `make serve`, or name another with --url",
        )


async def _pieces(response: httpx.Response) -> AsyncIterator[Piece]:
    async for line in response.aiter_lines():
        if not line.startswith("data:"):
            continue
        payload = line[5:].strip()
        if payload == "[DONE]":
            return
        event = orjson.loads(payload)
        if "error" in event:
            raise StreamBroken(f"The stream broke: {event['error'].get('message')}")
        yield read_piece(event)
    raise StreamCut("The stream ended without [DONE]", "See the service's log")


def _refusal(status: int, body: bytes) -> ServiceRefused:
    try:
        message = str(orjson.loads(body)["error"]["message"])
    except (orjson.JSONDecodeError, KeyError, TypeError):
        message = body[:200].decode(errors="replace")
    return ServiceRefused(status, message)


def _patience(retry_after: str) -> float:
    """Seconds to wait, as the service asks, within reason."""
    return min(float(retry_after), MAX_WAIT) if retry_after.isdigit() else 1.0
