"""A proxy between other people's clients and the service, which keeps what the service answered."""

import json
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any

import httpx
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.routing import Route

from tests import openai_schemas

METHODS = ["GET", "POST", "PUT", "DELETE"]
OWN = frozenset({"host", "content-length", "connection", "transfer-encoding", "date"})


@dataclass
class Exchange:
    """One request with all that was answered."""

    path: str
    asked: bytes
    status: int
    content_type: str
    body: bytearray = field(default_factory=bytearray)

    def check(self) -> None:
        openai_schemas.check(self.path, self.status, self.content_type, bytes(self.body))

    @property
    def wanted(self) -> Any:
        return json.loads(self.asked or b"null")


class Watcher:
    """Passes everything on as it comes, streams piece by piece."""

    def __init__(self, target: str) -> None:
        self._target = target
        self.exchanges: list[Exchange] = []
        self.app = Starlette(routes=[Route("/{path:path}", self.pass_on, methods=METHODS)])

    async def pass_on(self, request: Request) -> Response:
        asked = await request.body()
        headers = {k: v for k, v in request.headers.items() if k not in OWN}
        client = httpx.AsyncClient(base_url=self._target, timeout=120)
        outgoing = client.build_request(
            request.method, request.url.path, content=asked, headers=headers
        )
        reply = await client.send(outgoing, stream=True)
        kind = reply.headers.get("content-type", "")
        exchange = Exchange(request.url.path, asked, reply.status_code, kind)
        self.exchanges.append(exchange)

        async def body() -> AsyncIterator[bytes]:
            try:
                async for part in reply.aiter_raw():
                    exchange.body += part
                    yield part
            finally:
                await reply.aclose()
                await client.aclose()

        kept = {k: v for k, v in reply.headers.items() if k not in OWN}
        return StreamingResponse(body(), reply.status_code, kept)
