"""The floor: relays that only copy bytes, and the least that a FastAPI application can do.

`python -m eval.bench.bare httpx|aiohttp|fastapi PORT UPSTREAM`.
"""

import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import aiohttp
import httpx
import orjson
import uvicorn
from fastapi import FastAPI, Request
from fastapi.responses import Response
from starlette.types import Receive, Scope, Send

CHAT = "/v1/chat/completions"
JSON = {"content-type": "application/json"}
# Opens the upstream answer to a body and yields its bytes as they come.
Forward = Callable[[bytes], AsyncIterator[bytes]]


class BareRelay:
    """Raw ASGI: no framework, no parsing, no error handling."""

    def __init__(self, connect: Callable[[], "Awaitable[Forward]"]) -> None:
        self._connect = connect
        self._forward: Forward | None = None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return
        self._forward = self._forward or await self._connect()
        ready = scope["path"] == "/ready"
        headers = [(b"content-type", b"text/event-stream")]
        body = b"" if ready else await _read(receive)
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        if not ready:
            async for part in self._forward(body):
                await send({"type": "http.response.body", "body": part, "more_body": True})
        await send({"type": "http.response.body", "body": b"", "more_body": False})


async def _read(receive: Receive) -> bytes:
    parts, more = [], True
    while more:
        message = await receive()
        parts.append(message.get("body", b""))
        more = message.get("more_body", False)
    return b"".join(parts)


async def over_httpx(upstream: str) -> Forward:
    """httpx with its own transport."""
    limits = httpx.Limits(max_connections=None)
    client = httpx.AsyncClient(timeout=None, limits=limits, trust_env=False)

    async def forward(body: bytes) -> AsyncIterator[bytes]:
        url = upstream + CHAT
        async with client.stream("POST", url, content=body, headers=JSON) as response:
            async for part in response.aiter_raw():
                yield part

    return forward


async def over_aiohttp(upstream: str) -> Forward:
    """aiohttp's client."""
    session = aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(limit=0), timeout=aiohttp.ClientTimeout(total=None)
    )

    async def forward(body: bytes) -> AsyncIterator[bytes]:
        async with session.post(upstream + CHAT, data=body, headers=JSON) as response:
            async for part in response.content.iter_any():
                yield part

    return forward


def fastapi_app(upstream: str) -> FastAPI:
    """One route that reads the JSON, sends it on and gives the answer back: whole answers only."""
    sessions: list[aiohttp.ClientSession] = []

    @asynccontextmanager
    async def life(_: FastAPI) -> AsyncIterator[None]:
        async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as session:
            sessions.append(session)
            yield

    app = FastAPI(openapi_url=None, lifespan=life)

    @app.get("/ready")
    async def ready() -> Response:
        return Response()

    @app.post(CHAT)
    async def chat(request: Request) -> Response:
        body = orjson.dumps(orjson.loads(await request.body()))
        async with sessions[0].post(upstream + CHAT, data=body, headers=JSON) as reply:
            return Response(await reply.read(), reply.status, media_type="application/json")

    return app


KINDS = {"httpx": over_httpx, "aiohttp": over_aiohttp}

if __name__ == "__main__":
    kind, port, address = sys.argv[1:4]
    relay: FastAPI | BareRelay
    if kind == "fastapi":
        relay = fastapi_app(address)
    else:
        relay = BareRelay(lambda: KINDS[kind](address))
    uvicorn.run(relay, host="127.0.0.1", port=int(port), log_level="warning", access_log=False)
