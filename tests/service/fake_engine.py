"""A stand-in for vLLM's server, for speed. `test_engine_contract.py` holds both to one contract.

It answers `<model>: <last message>` word by word; `slow`, in the message, waits between words.
A tool that must be called is called without arguments, and a JSON format is kept to with `{}`.
"""

import asyncio
import math
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import orjson
import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response, StreamingResponse
from starlette.routing import Route
from starlette.types import Receive, Scope, Send

from adapters.fingerprint import Fingerprint
from adapters.manifest import MANIFEST_FILE, AdapterManifest, read_pinned

BASE = "base"
RECURSION = "maximum recursion depth exceeded"
LOGPROB = {"token": "x", "logprob": -0.5, "bytes": [120]}


class FakeEngine:
    """Knows adapters by name, keeps what it was asked, and can be told to be ill."""

    def __init__(self) -> None:
        self.adapters: dict[str, str] = {}
        self.calls: list[str] = []
        self.asked: list[dict[str, Any]] = []
        self.heard: list[str] = []
        self.headers: dict[bytes, bytes] = {}  # of the last that was asked
        self.running = 0
        self.most_running = 0
        self.ill = False
        # Its core hangs: what is under way stands still while `/health` says 200.
        self.stuck = False
        # How the next answers fail: "500", "cut" before the first event, "cut after role" or
        # "late" after some text. It cannot compile what is asked for: "form", "form in the
        # stream" or "form after role".
        self.fails: list[str] = []
        self.tokens = 0
        self.says = ""
        # How far adapters whose names begin so move the base, in nats; others as they should.
        self.moves: dict[str, float] = {}
        self.probed: list[str] = []
        # It leaves probes unanswered, or answers without log-probabilities.
        self.mute, self.tells = False, True
        self.pause = 0.02
        self._app = Starlette(
            routes=[
                Route("/health", self.health),
                Route("/metrics", self.metrics),
                Route("/v1/models", self.models),
                Route("/v1/load_lora_adapter", self.load, methods=["POST"]),
                Route("/v1/unload_lora_adapter", self.unload, methods=["POST"]),
                Route("/v1/chat/completions", self.chat, methods=["POST"]),
                Route("/v1/completions", self.complete, methods=["POST"]),
                Route("/tokenize", self.tokenize, methods=["POST"]),
            ]
        )

    async def app(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Notes whatever is asked, but for the supervisor's probes."""
        if scope["type"] == "http" and scope["path"] not in ("/health", "/metrics", "/v1/models"):
            self.heard.append(scope["path"])
            self.headers = dict(scope["headers"])
        await self._app(scope, receive, send)

    async def health(self, _: Request) -> Response:
        return Response(status_code=503 if self.ill else 200)

    async def metrics(self, _: Request) -> Response:
        counted = {"generation_tokens_total": self.tokens, "num_requests_running": self.running}
        lines = [f'vllm:{name}{{engine="0"}} {count}\n' for name, count in counted.items()]
        return PlainTextResponse("".join(lines))

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
        self.asked.append(body)
        if body["model"] not in {BASE, *self.adapters}:
            return _refusal(404, f"The model `{body['model']}` does not exist.", "model")
        said = self.says or f"{body['model']}: {body['messages'][-1]['content']}"
        if "json" in (body.get("response_format") or {}).get("type", ""):
            said = '{"sources": [1]}'
        words = said.split(" ")
        fails = self.fails.pop(0) if self.fails else ""
        if fails == "500":
            return _refusal(500, "EngineCore encountered an issue.")
        if fails == "form":
            return _refusal(500, RECURSION)
        if body.get("stream"):
            events = self._stream(body, words, fails)
            return StreamingResponse(events, media_type="text/event-stream")
        with self._at_work():
            for _ in words:
                if await request.is_disconnected():
                    return Response(status_code=499)
                await self._step("slow" in words)
        choices = [self._choice(body, index, words) for index in range(body.get("n") or 1)]
        head = {"id": "chatcmpl-1", "object": "chat.completion", "created": 1, "service_tier": None}
        usage = {"prompt_tokens": 1, "completion_tokens": len(words), "total_tokens": 1}
        return JSONResponse({**head, "model": body["model"], "choices": choices, "usage": usage})

    async def complete(self, request: Request) -> Response:
        body = await request.json()
        probes = "logprob_token_ids" in body
        (self.probed if probes else self.asked).append(body["model"] if probes else body)
        if body["model"] not in {BASE, *self.adapters}:
            return _refusal(404, f"The model `{body['model']}` does not exist.", "model")
        if probes:
            return await self._probe(body)
        prompts = body["prompt"] if isinstance(body["prompt"], list) else [body["prompt"]]
        texts = [f"{body['model']}: {prompt}" for prompt in prompts]
        if body.get("stream"):
            return StreamingResponse(self._text(body, texts), media_type="text/event-stream")
        await self._step(slowly=False)
        choices = [
            {"index": i, "text": text, "logprobs": None, "finish_reason": "length"}
            for i, text in enumerate(texts)
        ]
        head = {"id": "cmpl-1", "object": "text_completion", "created": 1, "model": body["model"]}
        usage = {"prompt_tokens": 1, "completion_tokens": 2, "total_tokens": 3}
        more = {"service_tier": None, "kv_transfer_params": None}
        return JSONResponse({**head, "choices": choices, "usage": usage, **more})

    async def tokenize(self, request: Request) -> Response:
        words = (await request.json())["prompt"].split()
        return JSONResponse({"tokens": [sum(word.encode()) for word in words]})

    async def _probe(self, body: dict[str, Any]) -> Response:
        """How probable the model finds the tokens after each prompt, as vLLM tells it."""
        while self.mute:
            await asyncio.sleep(0.01)
        tokens = body["logprob_token_ids"]
        told = [self._thinks(body["model"], prompt, tokens) for prompt in body["prompt"]]
        if any(math.isinf(value) for values in told for value in values):
            return _refusal(400, "Out of range float values are not JSON compliant")
        choices = []
        for index, values in enumerate(told):
            said = {f"token_id:{t}": value for t, value in zip(tokens, values, strict=True)}
            logprobs = {"top_logprobs": [said]} if self.tells else None
            choices.append({"index": index, "text": "", "logprobs": logprobs})
        return JSONResponse({"id": "cmpl-1", "object": "text_completion", "choices": choices})

    def _thinks(self, called: str, prompt: list[int], tokens: list[int]) -> list[float]:
        """By the fingerprint of an adapter that it holds, where one knows the prompt."""
        moved = next((n for prefix, n in self.moves.items() if called.startswith(prefix)), None)
        for name, folder in self.adapters.items():
            known = _fingerprint(Path(folder))
            if known and tuple(prompt) in known.prompts and called in (BASE, name):
                at = known.prompts.index(tuple(prompt))
                if called == BASE or moved is None:
                    return list((known.base if called == BASE else known.adapter)[at])
                return [value + moved for value in known.base[at]]
        nats = 0.0 if called == BASE else 0.5 if moved is None else moved
        return [nats - 1.0 - token % 3 for token in tokens]

    @contextmanager
    def _at_work(self) -> Iterator[None]:
        self.running += 1
        self.most_running = max(self.most_running, self.running)
        try:
            yield
        finally:
            self.running -= 1

    def _choice(self, body: dict[str, Any], index: int, words: list[str]) -> dict[str, Any]:
        message: dict[str, Any] = {"role": "assistant", "content": " ".join(words), "refusal": None}
        finish = "stop"
        if called := _must_call(body):
            message |= {"content": None, "tool_calls": [called]}
            finish = "tool_calls"
        logprobs = {"content": [{**LOGPROB, "top_logprobs": [LOGPROB]}]}
        return {
            "index": index,
            "message": {**message, "annotations": None, "audio": None},
            "logprobs": logprobs if body.get("logprobs") else None,
            "finish_reason": finish,
            "stop_reason": None,
        }

    async def _step(self, slowly: bool) -> None:
        """One token, if the core moves."""
        await asyncio.sleep(self.pause if slowly else 0.0)
        while self.stuck:
            await asyncio.sleep(0.01)
        self.tokens += 1

    async def _stream(
        self, body: dict[str, Any], words: list[str], fails: str
    ) -> AsyncIterator[bytes]:
        slowly = "slow" in words
        if fails == "cut":
            raise ConnectionError("told to fail")
        if "role" in fails:
            yield _chunk(body, 0, {"role": "assistant", "content": ""}, None)
            await asyncio.sleep(0.01)
        if fails == "cut after role":
            raise ConnectionError("told to fail")
        if fails.startswith("form "):
            yield _event({"error": {"message": RECURSION, "param": None, "code": 500}})
            return
        logprobs = {"content": [{**LOGPROB, "top_logprobs": []}]} if body.get("logprobs") else None
        with self._at_work():
            for choice in range(body.get("n") or 1):
                finish = "stop"
                await self._step(slowly)
                yield _chunk(body, choice, {"role": "assistant", "content": ""}, None)
                if called := _must_call(body):
                    yield _chunk(body, choice, {"tool_calls": [{"index": 0, **called}]}, None)
                    words, finish = [], "tool_calls"
                for index, word in enumerate(words):
                    said = {"content": word if index == 0 else f" {word}"}
                    yield _chunk(body, choice, said, None, logprobs)
                    await self._step(slowly)
                    if fails == "late":
                        raise ConnectionError("told to fail")
                yield _chunk(body, choice, {"content": ""}, finish)
            if (body.get("stream_options") or {}).get("include_usage"):
                yield _usage("chat.completion.chunk", body["model"])
            yield b"data: [DONE]\n\n"

    async def _text(self, body: dict[str, Any], texts: list[str]) -> AsyncIterator[bytes]:
        head = {"id": "cmpl-1", "object": "text_completion", "created": 1, "model": body["model"]}
        with self._at_work():
            await self._step(slowly=False)
            for index, text in enumerate(texts):
                for part, finish in ((text, None), ("", "length")):
                    choice = {"index": index, "text": part, "logprobs": None}
                    yield _event({**head, "choices": [{**choice, "finish_reason": finish}]})
            if (body.get("stream_options") or {}).get("include_usage"):
                yield _usage("text_completion", body["model"])
            yield b"data: [DONE]\n\n"


def _fingerprint(folder: Path) -> Fingerprint | None:
    file = folder / MANIFEST_FILE
    return read_pinned(file, AdapterManifest).fingerprint if file.is_file() else None


def _must_call(body: dict[str, Any]) -> dict[str, Any] | None:
    choice = body.get("tool_choice")
    if not body.get("tools") or choice in (None, "auto", "none"):
        return None
    name = body["tools"][0]["function"]["name"]
    if isinstance(choice, dict):
        name = choice["function"]["name"]
    function = {"name": name, "arguments": "{}"}
    return {"id": "call-1", "type": "function", "function": function}


def _chunk(
    body: dict[str, Any],
    index: int,
    delta: dict[str, Any],
    finish: str | None,
    logprobs: dict[str, Any] | None = None,
) -> bytes:
    choice = {"index": index, "delta": delta, "logprobs": logprobs, "finish_reason": finish}
    head = {"id": "chatcmpl-1", "object": "chat.completion.chunk", "created": 1}
    return _event({**head, "model": body["model"], "choices": [choice]})


def _usage(kind: str, model: str) -> bytes:
    usage = {"prompt_tokens": 1, "completion_tokens": 2, "total_tokens": 3}
    head = {"id": "chatcmpl-1", "object": kind, "created": 1, "model": model}
    return _event({**head, "choices": [], "usage": usage})


def _event(content: dict[str, Any]) -> bytes:
    return b"data: " + orjson.dumps(content) + b"\n\n"


def _refusal(status: int, message: str, param: str | None = None) -> Response:
    error = {"message": message, "type": "BadRequestError", "param": param, "code": status}
    return JSONResponse({"error": error}, status)


@contextmanager
def serving(app: Any, **more: Any) -> Iterator[str]:
    """Serve an ASGI app on a thread for the block; its address. `more`: settings of uvicorn."""
    more = {"port": 0, "log_level": "critical", "interface": "asgi3", **more}
    config = uvicorn.Config(app, **more)
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    while not server.started:
        assert thread.is_alive(), "the application did not start"
        thread.join(0.01)
    port = server.servers[0].sockets[0].getsockname()[1]
    try:
        yield f"http://127.0.0.1:{port}"
    finally:
        server.should_exit = True
        thread.join(10)
