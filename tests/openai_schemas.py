"""Whatever a client is answered, held against OpenAI's published description of its API.

The description lies beside the repository; where it is absent nothing is checked, and the test that
says so skips.
"""

import base64
import functools
import json
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import jsonschema
import pytest

FOLDER = Path(__file__).resolve().parents[2] / "shared" / "data" / "openai_api"
FILE = FOLDER / "openapi_chat_completions_embeddings_models_files_batches.json"
ABSENT = "OpenAI's API description is not here"
WHOLE = {
    "/v1/chat/completions": "CreateChatCompletionResponse",
    "/v1/completions": "CreateCompletionResponse",
    "/v1/embeddings": "CreateEmbeddingResponse",
    "/v1/models": "ListModelsResponse",
}


@functools.cache
def _validator(schema: str) -> jsonschema.Draft202012Validator:
    spec = json.loads(FILE.read_text(encoding="utf-8"))
    wanted = {"$ref": f"#/components/schemas/{schema}", "components": spec["components"]}
    return jsonschema.Draft202012Validator(wanted)


def is_here() -> bool:
    return FILE.is_file()


def validate(schema: str, value: Any) -> None:
    """Against one schema by its name."""
    _validator(schema).validate(value)


@contextmanager
def watching(patch: pytest.MonkeyPatch) -> Iterator[list[tuple[str, int, str, bytes]]]:
    """What httpx's plain client gets within the block: path, status, content type and body."""
    seen: list[tuple[str, int, str, bytes]] = []
    send = httpx.Client.send

    def keep(self: httpx.Client, request: httpx.Request, **more: Any) -> httpx.Response:
        response = send(self, request, **more)
        if not more.get("stream"):
            kind = response.headers.get("content-type", "")
            seen.append((request.url.path, response.status_code, kind, response.content))
        return response

    with patch.context() as patched:
        patched.setattr(httpx.Client, "send", keep)
        yield seen


def check(path: str, status: int, content_type: str, body: bytes) -> None:
    """Raises jsonschema's ValidationError; paths that OpenAI does not have are let through."""
    if not is_here():
        return
    path = path.partition("?")[0]
    known = path in WHOLE or path.startswith("/v1/models/")
    if status >= 400:
        _validator("ErrorResponse").validate(json.loads(body))
    elif known and content_type.startswith("text/event-stream"):
        for chunk in _chunks(body):
            _check_chunk(path, chunk)
    elif known and status == 200 and body:
        _validator(WHOLE.get(path, "Model")).validate(_decoded(json.loads(body)))


def _chunks(body: bytes) -> Iterator[dict[str, Any]]:
    """The events of a stream; it must end as OpenAI's do."""
    *events, end = body.decode().removesuffix("\n\n").split("\n\n")
    assert end == "data: [DONE]" or '"error"' in end, end
    for event in (one for one in events if one.startswith("data: ")):
        yield json.loads(event.removeprefix("data: "))


def _check_chunk(path: str, chunk: dict[str, Any]) -> None:
    if path == "/v1/chat/completions":
        _validator("CreateChatCompletionStreamResponse").validate(chunk)
        return
    # The description has one schema for whole answers and for chunks, and no place for a null.
    for choice in chunk["choices"]:
        choice["finish_reason"] = choice["finish_reason"] or "stop"
    filled = {name: value for name, value in chunk.items() if value is not None}
    _validator(WHOLE[path]).validate(filled)


def _decoded(answer: dict[str, Any]) -> dict[str, Any]:
    """Base64 is asked for, and described nowhere: the numbers that it holds."""
    for card in answer.get("data", ()):
        if isinstance(card.get("embedding"), str):
            raw = base64.b64decode(card["embedding"])
            card["embedding"] = list(struct.unpack(f"<{len(raw) // 4}f", raw))
    return answer
