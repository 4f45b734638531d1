"""HTTP client of one vLLM server. It never knows who started the server."""

from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, cast

import aiohttp
import orjson

from service.errors import EngineRejected, EngineTimeout, Unavailable

PROBE_SECONDS = 5.0
WHOLE_ANSWERS = 10
CHAT = "/v1/chat/completions"
COMPLETIONS = "/v1/completions"


class Engine:
    """Chat, adapters and health of the server at `url` (no trailing slash).

    aiohttp, not httpx: a relayed chunk costs a third of the CPU time (`eval.bench relay`).
    """

    def __init__(self, url: str, read_seconds: float) -> None:
        self.url = url.rstrip("/")
        self._timeout = aiohttp.ClientTimeout(
            total=None, sock_connect=PROBE_SECONDS, sock_read=read_seconds
        )
        # Nothing arrives before a whole answer is written.
        self._whole = aiohttp.ClientTimeout(
            total=WHOLE_ANSWERS * read_seconds, sock_connect=PROBE_SECONDS
        )
        self._session: aiohttp.ClientSession | None = None

    @property
    def session(self) -> aiohttp.ClientSession:
        """Opened on first use, since aiohttp wants a running loop; no limit: admission is ours."""
        if self._session is None:
            self._session = aiohttp.ClientSession(
                # vLLM closes idle connections after 5 s: a request must not meet one just then.
                connector=aiohttp.TCPConnector(limit=0, keepalive_timeout=4),
                timeout=self._timeout,
                json_serialize=lambda value: orjson.dumps(value).decode(),
            )
        return self._session

    async def close(self) -> None:
        if self._session is not None:
            await self._session.close()

    async def healthy(self) -> bool:
        """Does the server, and the engine behind it, say that it is well?"""
        timeout = aiohttp.ClientTimeout(total=PROBE_SECONDS)
        try:
            async with self.session.get(f"{self.url}/health", timeout=timeout) as response:
                return response.status == 200
        except (aiohttp.ClientError, TimeoutError):
            return False

    async def registered(self) -> frozenset[str]:
        """Names of the adapters that the engine knows."""
        with transport_errors():
            async with self.session.get(f"{self.url}/v1/models") as response:
                listing = await self._checked_json(response)
        return frozenset(card["id"] for card in listing["data"] if card.get("parent"))

    async def load_adapter(self, name: str, folder: Path) -> None:
        """Register the adapter in `folder` as `name`; the engine must be able to read the path.

        vLLM answers 500 to an adapter it cannot use: while it is well, that is a refusal.
        """
        body = {"lora_name": name, "lora_path": str(folder)}
        try:
            await self._post("/v1/load_lora_adapter", body)
        except Unavailable as error:
            if await self.healthy():
                raise EngineRejected(400, error.message) from error
            raise

    async def unload_adapter(self, name: str) -> None:
        await self._post("/v1/unload_lora_adapter", {"lora_name": name})

    async def chat(self, payload: dict[str, Any], path: str = CHAT) -> dict[str, Any]:
        """One answer, whole."""
        with transport_errors():
            async with self.session.post(
                f"{self.url}{path}", json=payload, timeout=self._whole
            ) as reply:
                return await self._checked_json(reply)

    async def open(self, payload: dict[str, Any], path: str = CHAT) -> "EngineStream":
        """Start a streamed answer; the caller must close it. Refusals are raised here."""
        with transport_errors():
            reply = await self.session.post(f"{self.url}{path}", json=payload)
            if reply.status != 200:
                async with reply:
                    await self._checked_json(reply)
        return EngineStream(reply)

    async def _post(self, path: str, body: dict[str, Any]) -> None:
        with transport_errors():
            async with self.session.post(f"{self.url}{path}", json=body) as response:
                if response.status != 200:
                    await self._checked_json(response)

    async def _checked_json(self, response: aiohttp.ClientResponse) -> dict[str, Any]:
        body = await response.read()
        if response.status == 200:
            return cast(dict[str, Any], orjson.loads(body))
        if response.status >= 500:
            raise Unavailable(f"The engine failed: {_message(body)[0]}", retry_after=1)
        raise EngineRejected(response.status, *_message(body))


class EngineStream:
    """A streamed answer of the engine. Closing it before its end makes the engine abort it."""

    def __init__(self, reply: aiohttp.ClientResponse) -> None:
        self._reply = reply

    async def events(self) -> AsyncIterator[list[bytes]]:
        """The payloads of server-sent events, those that arrived together in one list."""
        rest = b""
        with transport_errors():
            async for received in self._reply.content.iter_any():
                *whole, rest = (rest + received.replace(b"\r", b"")).split(b"\n\n")
                yield [event[6:] for event in whole if event.startswith(b"data: ")]

    def close(self) -> None:
        """Not async: it also runs where a client's going away cancels every await."""
        self._reply.close()


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


def _message(body: bytes) -> tuple[str, str | None]:
    try:
        error = orjson.loads(body)["error"]
        return str(error["message"]), error.get("param")
    except (orjson.JSONDecodeError, KeyError, TypeError):
        return body[:300].decode(errors="replace"), None
