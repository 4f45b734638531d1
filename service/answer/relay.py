"""Passes a streamed answer on: renames the model, adds citations, and never hides a failure.

A chunk is parsed once, to follow the text; its bytes are passed on with the name replaced.
"""

import logging
from collections.abc import AsyncIterator, Callable
from typing import Any

import orjson

from service.engines.engine import EngineStream
from service.errors import ServiceError, Unavailable, envelope

log = logging.getLogger("dslm.relay")
DONE = b"data: [DONE]\n\n"
# Given the whole text of a choice and its index: what its last chunk carries.
Conclude = Callable[[int, str], dict[str, Any]]


class Relay:
    """One streamed answer; `completed` and `usage` tell afterwards how it went.

    The engine is always asked for usage; `show_usage` says whether the client wants to see it.
    """

    def __init__(
        self,
        stream: EngineStream,
        engine_name: str,
        public: str,
        conclude: Conclude,
        *,
        show_usage: bool = True,
    ) -> None:
        self._stream = stream
        self._old = b'"model":' + orjson.dumps(engine_name)
        self._new = b'"model":' + orjson.dumps(public)
        self._public = public
        self._conclude = conclude
        self._show_usage = show_usage
        self._texts: dict[int, list[str]] = {}
        self.usage: dict[str, int] = {}
        self.completed = False

    async def body(self) -> AsyncIterator[bytes]:
        """Server-sent events; the last is `[DONE]` or an error, never both."""
        passed: list[bytes] = []
        try:
            async for payloads in self._stream.events():
                passed = []
                for payload in payloads:
                    passed.append(self._pass(payload))
                    if self.completed:
                        break
                yield b"".join(passed)
                if self.completed:
                    return
            passed = []
            raise Unavailable("The engine ended the answer early", "Try again")
        except ServiceError as error:
            yield b"".join(passed) + event(envelope(error))
        except (orjson.JSONDecodeError, KeyError, TypeError) as error:
            log.error("the engine sent what is no chunk: %r", error)
            broken = Unavailable("The engine sent what cannot be read", "Try again")
            yield b"".join(passed) + event(envelope(broken))

    def _pass(self, payload: bytes) -> bytes:
        if payload == b"[DONE]":
            self.completed = True
            return DONE
        chunk = orjson.loads(payload)
        if "error" in chunk:
            raise Unavailable(f"The engine failed: {chunk['error'].get('message')}", "Try again")
        choices = chunk["choices"]
        if usage := chunk.get("usage"):
            self.usage = usage
            if not choices and not self._show_usage:
                return b""
        ended = [choice for choice in choices if self._follow(choice)]
        if ended:
            return self._last(chunk, ended)
        return b"data: " + payload.replace(self._old, self._new, 1) + b"\n\n"

    def _follow(self, choice: dict[str, Any]) -> bool:
        """Keep the text; is this the choice's last chunk?"""
        content = choice["delta"].get("content")
        if content:
            self._texts.setdefault(choice["index"], []).append(content)
        return choice["finish_reason"] is not None

    def _last(self, chunk: dict[str, Any], ended: list[dict[str, Any]]) -> bytes:
        chunk["model"] = self._public
        for choice in ended:
            index = choice["index"]
            ending = self._conclude(index, "".join(self._texts.get(index, ())))
            choice["delta"]["annotations"] = ending.pop("annotations")
            chunk.update(ending)
        return event(chunk)


def event(content: dict[str, Any]) -> bytes:
    """One server-sent event."""
    return b"data: " + orjson.dumps(content) + b"\n\n"
