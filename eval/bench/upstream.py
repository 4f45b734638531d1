"""A scripted engine for the relay benchmark: speaks vLLM's chat events at a fixed pace, no model.

`python -m eval.bench.upstream PORT GAP_MS`; a request's `max_tokens` is its number of chunks.
"""

import asyncio
import sys
from typing import Any

import orjson
import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route

CREATED = 1_700_000_000


def create_upstream(gap: float) -> Starlette:
    """`gap` seconds between two chunks of a stream."""
    loaded: dict[str, str] = {}

    async def chat(request: Request) -> Response:
        body = orjson.loads(await request.body())
        if not body.get("stream"):
            return Response(_whole(body), media_type="application/json")
        return StreamingResponse(_events(body, gap), media_type="text/event-stream")

    async def models(_: Request) -> Response:
        cards = [_card("base", None), *(_card(name, "base") for name in loaded)]
        return JSONResponse({"object": "list", "data": cards})

    async def load(request: Request) -> Response:
        body = orjson.loads(await request.body())
        loaded[body["lora_name"]] = body["lora_path"]
        return Response("loaded")

    async def unload(request: Request) -> Response:
        loaded.pop(orjson.loads(await request.body())["lora_name"], None)
        return Response("unloaded")

    async def health(_: Request) -> Response:
        return Response()

    return Starlette(
        routes=[
            Route("/v1/chat/completions", chat, methods=["POST"]),
            Route("/v1/models", models),
            Route("/v1/load_lora_adapter", load, methods=["POST"]),
            Route("/v1/unload_lora_adapter", unload, methods=["POST"]),
            Route("/health", health),
        ]
    )


def _card(name: str, parent: str | None) -> dict[str, Any]:
    return {"id": name, "object": "model", "created": CREATED, "owned_by": "vllm", "parent": parent}


async def _events(body: dict[str, Any], gap: float) -> Any:
    """A chunk with the role, `max_tokens` with a word each, one with the reason, then the end."""
    name, count = body["model"], body["max_tokens"]
    yield _event(name, {"role": "assistant", "content": ""}, None)
    for number in range(count):
        await asyncio.sleep(gap)
        yield _event(name, {"content": f" word{number}"}, None)
    yield _event(name, {"content": ""}, "length")
    if (body.get("stream_options") or {}).get("include_usage"):
        yield _usage(name, count)
    yield b"data: [DONE]\n\n"


def _whole(body: dict[str, Any]) -> bytes:
    count = body["max_tokens"]
    said = "".join(f" word{number}" for number in range(count))
    message = {"role": "assistant", "content": said, "refusal": None, "annotations": None}
    choice = {"index": 0, "message": message, "logprobs": None, "finish_reason": "length"}
    usage = {"prompt_tokens": 1, "total_tokens": count + 1, "completion_tokens": count}
    head = {"id": "chatcmpl-0", "object": "chat.completion", "created": CREATED}
    return orjson.dumps({**head, "model": body["model"], "choices": [choice], "usage": usage})


def _event(name: str, delta: dict[str, str], reason: str | None) -> bytes:
    choice = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": reason}
    return _chunk(name, {"choices": [{**choice, "token_ids": None}]})


def _usage(name: str, count: int) -> bytes:
    usage = {"prompt_tokens": 1, "total_tokens": count + 1, "completion_tokens": count}
    return _chunk(name, {"choices": [], "usage": usage})


def _chunk(name: str, content: dict[str, Any]) -> bytes:
    head = {"id": "chatcmpl-0", "object": "chat.completion.chunk", "created": CREATED}
    return b"data: " + orjson.dumps({**head, "model": name, **content}) + b"\n\n"


if __name__ == "__main__":
    app = create_upstream(float(sys.argv[2]) / 1000)
    uvicorn.run(app, host="127.0.0.1", port=int(sys.argv[1]), log_level="warning", access_log=False)
