"""A stand-in for vLLM's server, for speed. `test_engine_contract.py` holds both to one contract.

It answers `<model>: <last message>` word by word; `slow`, in the message, waits between words.
"""

import asyncio
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from typing import Any

import orjson
import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response, StreamingResponse
from starlette.routing import Route

BASE = "base"


class FakeEngine:
    """Knows adapters by name, counts what runs, and can be told to be ill."""

    def __init__(self) -> None:
        self.adapters: dict[str, str] = {}
        self.calls: list[str] = []
        self.running = 0
        self.ill = False
        self.app = Starlette(
            routes=[
                Route("/health", self.health),
                Route("/v1/models", self.models),
                Route("/v1/load_lora_adapter", self.load, methods=["POST"]),
                Route("/v1/unload_lora_adapter", self.unload, methods=["POST"]),
                Route("/v1/chat/completions", self.chat, methods=["POST"]),
            ]
        )

    async def health(self, _: Request) -> Response:
        return Response(status_code=503 if self.ill else 200)

    async def models(self, _: Request) -> Response:
        cards = [{"id": BASE, "object": "model", "parent": None}]
        cards += [{"id": name, "object": "model", "parent": BASE} for name in self.adapters]
        return JSONResponse({"object": "list", "data": cards})

    async def load(self, request: Request) -> Response:
        body = await request.json()
        name = body["lora_name"]
        self.calls.append(f"load {name}")
        if name in self.adapters:
            return _refusal(400, f"The lora adapter '{name}' has already been loaded.")
        if "missing" in body["lora_path"]:
            return _refusal(404, f"No adapter found for {body['lora_path']}")
        self.adapters[name] = body["lora_path"]
        return PlainTextResponse(f"Success: LoRA adapter '{name}' added successfully.")

    async def unload(self, request: Request) -> Response:
        name = (await request.json())["lora_name"]
        self.calls.append(f"unload {name}")
        if self.adapters.pop(name, None) is None:
            return _refusal(404, f"The lora adapter '{name}' cannot be found.")
        return PlainTextResponse(f"Success: LoRA adapter '{name}' removed successfully.")

    async def chat(self, request: Request) -> Response:
        body = await request.json()
        if body["model"] not in {BASE, *self.adapters}:
            return _refusal(404, f"The model `{body['model']}` does not exist.", "model")
        words = f"{body['model']}: {body['messages'][-1]['content']}".split(" ")
        if body.get("stream"):
            return StreamingResponse(self._stream(body, words), media_type="text/event-stream")
        message = {"role": "assistant", "content": " ".join(words), "refusal": None}
        choice = {"index": 0, "message": message, "logprobs": None, "finish_reason": "stop"}
        usage = {"prompt_tokens": 1, "completion_tokens": len(words), "total_tokens": 1}
        head = {"id": "chatcmpl-1", "object": "chat.completion", "created": 1}
        return JSONResponse({**head, "model": body["model"], "choices": [choice], "usage": usage})

    async def _stream(self, body: dict[str, Any], words: list[str]) -> AsyncIterator[bytes]:
        self.running += 1
        pause = 0.02 if "slow" in words else 0.0
        try:
            for index, word in enumerate(words):
                yield _chunk(body["model"], {"content": word if index == 0 else f" {word}"}, None)
                await asyncio.sleep(pause)
            yield _chunk(body["model"], {"content": ""}, "stop")
            yield b"data: [DONE]\n\n"
        finally:
            self.running -= 1


def _chunk(model: str, delta: dict[str, Any], finish: str | None) -> bytes:
    choice = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish}
    head = {"id": "chatcmpl-1", "object": "chat.completion.chunk", "created": 1, "model": model}
    return b"data: " + orjson.dumps({**head, "choices": [choice]}) + b"\n\n"


def _refusal(status: int, message: str, param: str | None = None) -> Response:
    error = {"message": message, "type": "BadRequestError", "param": param, "code": status}
    return JSONResponse({"error": error}, status)


@contextmanager
def serving(app: Any) -> Iterator[str]:
    """Serve an ASGI app on a thread for the block; its address."""
    config = uvicorn.Config(app, port=0, log_level="critical", lifespan="auto")
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    while not server.started:
        thread.join(0.01)
    port = server.servers[0].sockets[0].getsockname()[1]
    try:
        yield f"http://127.0.0.1:{port}"
    finally:
        server.should_exit = True
        thread.join(10)
