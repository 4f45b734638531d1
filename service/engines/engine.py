"""HTTP client of one vLLM server. It never knows who started the server."""

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Literal, cast

import aiohttp
import orjson

from service.engines.command import BASE_NAME
from service.engines.forms import form_of
from service.engines.pulse import Pulse
from service.engines.stream import EngineFailed, EngineStream, beginning, failure, transport_errors
from service.errors import EngineRejected, InvalidRequest, ServiceError, Unavailable
from service.phases import OUTGOING

PROBE_SECONDS = 5.0
WHOLE_ANSWERS = 10
CHAT = "/v1/chat/completions"
COMPLETIONS = "/v1/completions"
Health = Literal["well", "ill", "silent"]
# What vLLM's scheduler counts in every step that it takes.
MOVING = (
    b"vllm:generation_tokens_total{",
    b"vllm:prompt_tokens_total{",
    b"vllm:iteration_tokens_total_count{",
    b"vllm:kv_cache_usage_perc{",
)
ONE_TOKEN = {"prompt": "1", "max_tokens": 1, "temperature": 0}


class Engine:
    """Chat, adapters and health of the server at `url` (no trailing slash).

    aiohttp, not httpx: a relayed chunk costs a third of the CPU time (`eval.bench relay`).
    `pulse` tells whether it moves while answers are under way. `headers` carry its API key, if it
    has one; `base_name`: what it calls its base.
    """

    def __init__(
        self,
        url: str,
        read_seconds: float,
        base_name: str = BASE_NAME,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        self.url = url.rstrip("/")
        self._headers = dict(headers or {})
        self.base_name = base_name
        self.pulse = Pulse()
        self._streams: set[EngineStream] = set()
        self._waits: dict[asyncio.Timeout, ServiceError | None] = {}
        self._shut: ServiceError | None = None
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
                headers=self._headers,
                json_serialize=lambda value: orjson.dumps(value).decode(),
            )
        return self._session

    async def close(self) -> None:
        if self._session is not None:
            await self._session.close()

    def interrupt(self, error: ServiceError) -> None:
        """End every answer under way with `error`."""
        for stream in self._streams:
            stream.interrupt(error)
        for wait in self._waits:
            self._waits[wait] = error
            wait.reschedule(asyncio.get_running_loop().time())

    def shut(self, error: ServiceError) -> None:
        """End every answer under way, and any that is asked for later, with `error`."""
        self._shut = error
        self.interrupt(error)

    async def healthy(self) -> bool:
        """Does the server, and the engine behind it, say that it is well?"""
        return await self.health() == "well"

    async def health(self) -> Health:
        """`ill`: the server says that it is not well; vLLM's never is again. `silent`: nothing."""
        status, _ = await self._probe("/health")
        return "silent" if status is None else "well" if status == 200 else "ill"

    async def progress(self) -> bytes | None:
        """What changes with every step of the engine; None where the server does not tell."""
        status, body = await self._probe("/metrics")
        counts = [line for line in body.split(b"\n") if line.startswith(MOVING)]
        return b"\n".join(counts) if status == 200 and counts else None

    async def speaks(self, seconds: float) -> bool:
        """Does one token of the base come within so many seconds?"""
        try:
            async with asyncio.timeout(seconds):
                await self.chat({"model": self.base_name, **ONE_TOKEN}, COMPLETIONS)
        except (ServiceError, TimeoutError):
            return False
        return True

    async def _probe(self, path: str) -> tuple[int | None, bytes]:
        timeout = aiohttp.ClientTimeout(total=PROBE_SECONDS)
        try:
            async with self.session.get(f"{self.url}{path}", timeout=timeout) as response:
                return response.status, await response.read()
        except (aiohttp.ClientError, TimeoutError):
            return None, b""

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
        with self.pulse.asking(), transport_errors():
            async with self._interruptible(), self._judging(payload):
                async with self.session.post(
                    f"{self.url}{path}", json=payload, timeout=self._whole, headers=OUTGOING.get()
                ) as reply:
                    return await self._checked_json(reply)

    async def open(self, payload: dict[str, Any], path: str = CHAT) -> "EngineStream":
        """Start a streamed answer; the caller must close it.

        Refusals and failures before there is text are raised here: until then nothing has been
        sent, and it may be asked again.
        """
        with self.pulse.asking(), transport_errors():
            async with self._interruptible(), self._judging(payload):
                reply = await self.session.post(
                    f"{self.url}{path}", json=payload, headers=OUTGOING.get()
                )
                try:
                    if reply.status != 200:
                        await self._checked_json(reply)
                    first = await beginning(reply, _events_before_text(payload, path) + 1)
                except BaseException:
                    reply.close()
                    raise
        return EngineStream(reply, first, self.pulse, self._streams)

    @asynccontextmanager
    async def _interruptible(self) -> AsyncIterator[None]:
        """For as long as nothing of an answer has come."""
        if self._shut:
            raise self._shut
        wait = asyncio.timeout(None)
        self._waits[wait] = None
        try:
            async with wait:
                yield
        except TimeoutError:
            if error := self._waits[wait]:
                raise error from None
            raise
        finally:
            del self._waits[wait]

    def _form_of(self, payload: Mapping[str, Any]) -> str | None:
        """The field of a form that may be why it fails."""
        return form_of(payload)

    @asynccontextmanager
    async def _judging(self, payload: Mapping[str, Any]) -> AsyncIterator[None]:
        """Is it the engine that failed, or the form that was asked for?

        vLLM answers 500 to many forms that it cannot compile, and is well afterwards.
        """
        try:
            yield
        except EngineFailed as error:
            asked = self._form_of(payload)
            if asked and not error.is_death and await self.healthy():
                message = f"The engine cannot hold an answer to this `{asked}`: {error.said}"
                raise InvalidRequest(message, "Ask for a simpler form", param=asked) from error
            raise

    async def _post(self, path: str, body: dict[str, Any]) -> None:
        with transport_errors():
            async with self.session.post(f"{self.url}{path}", json=body) as response:
                if response.status != 200:
                    await self._checked_json(response)

    async def _checked_json(self, response: aiohttp.ClientResponse) -> dict[str, Any]:
        body = await response.read()
        if response.status == 200:
            return cast(dict[str, Any], orjson.loads(body))
        raise failure(response.status, body)


def _events_before_text(payload: Mapping[str, Any], path: str) -> int:
    """Of a chat vLLM sends each choice's role before it has computed anything."""
    return (payload.get("n") or 1) if path == CHAT else 0
