"""Passes a streamed answer on: renames the model, adds citations, and never hides a failure.

A chunk is parsed once, to follow the text; its bytes are passed on with the name replaced.
"""

from collections.abc import AsyncIterator, Callable
from typing import Any

import orjson

from service.engines.engine import EngineStream
from service.errors import ServiceError, Unavailable, envelope

DONE = b"data: [DONE]\n\n"
# Given the whole text of a choice and its index: what its last chunk carries.
Conclude = Callable[[int, str], dict[str, Any]]


class Relay:
    """One streamed answer; `completed` and `usage` tell afterwards how it went."""

    def __init__(self, stream: EngineStream, engine_name: str, public: str, end: Conclude) -> None:
        self._stream = stream
        self._old = b'"model":' + orjson.dumps(engine_name)
        self._new = b'"model":' + orjson.dumps(public)
        self._public = public
        self._conclude = end
        self._texts: dict[int, list[str]] = {}
        self.usage: dict[str, int] = {}
        self.completed = False

    async def body(self) -> AsyncIterator[bytes]:
        """Server-sent events; the last is `[DONE]` or an error, never both."""
        try:
            async for payloads in self._stream.events():
                passed = b"".join(map(self._pass, payloads))
                if passed:
                    yield passed
                if self.completed:
                    return
            raise Unavailable("The engine ended the answer early", "Try again")
        except ServiceError as error:
            yield event(envelope(error))

    def _pass(self, payload: bytes) -> bytes:
        if self.completed:
            return b""
        if payload == b"[DONE]":
            self.completed = True
            return DONE
        chunk = orjson.loads(payload)
        if "error" in chunk:
            raise Unavailable(f"The engine failed: {chunk['error'].get('message')}", "Try again")
        if usage := chunk.get("usage"):
            self.usage = usage
        for choice in chunk["choices"]:
            if self._follow(choice):
                return self._last(chunk)
        return b"data: " + payload.replace(self._old, self._new, 1) + b"\n\n"

    def _follow(self, choice: dict[str, Any]) -> bool:
        """Keep the text; is this the choice's last chunk?"""
        content = choice["delta"].get("content")
        if content:
            self._texts.setdefault(choice["index"], []).append(content)
        return choice["finish_reason"] is not None

    def _last(self, chunk: dict[str, Any]) -> bytes:
        chunk["model"] = self._public
        for choice in chunk["choices"]:
            if choice["finish_reason"] is not None:
                index = choice["index"]
                ending = self._conclude(index, "".join(self._texts.get(index, ())))
                choice["delta"]["annotations"] = ending["annotations"]
                chunk["dslm"] = ending["dslm"]
        return event(chunk)


def event(content: dict[str, Any]) -> bytes:
    """One server-sent event."""
    return b"data: " + orjson.dumps(content) + b"\n\n"
