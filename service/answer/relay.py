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
# How an answer may end; vLLM knows more ways, which are failures.
ENDINGS = frozenset({"stop", "length", "tool_calls", "content_filter", "function_call"})


class Relay:
    """One streamed answer; `completed` and `usage` tell afterwards how it went.

    The engine is always asked for usage; `show_usage` says whether the client wants to see it:
    then, as OpenAI has it, every chunk before that one says null. `conclude` is None for a legacy
    completion, whose chunks hold bare text. `has_logprobs`: chunks bring log probabilities, which
    vLLM shapes a little differently.
    """

    def __init__(
        self,
        stream: EngineStream,
        engine_name: str,
        public: str,
        conclude: Conclude | None,
        *,
        show_usage: bool = True,
        has_logprobs: bool = False,
    ) -> None:
        self._stream = stream
        self._old = b'"model":' + orjson.dumps(engine_name)
        self._new = b'"model":' + orjson.dumps(public)
        self._public = public
        self._conclude = conclude
        self._show_usage = show_usage
        self._has_logprobs = has_logprobs
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
        if ended or self._has_logprobs:
            return self._written(chunk, ended)
        renamed = payload.replace(self._old, self._new, 1)
        if self._show_usage and "usage" not in chunk:
            renamed = renamed[:-1] + b',"usage":null}'
        return b"data: " + renamed + b"\n\n"

    def _follow(self, choice: dict[str, Any]) -> bool:
        """Keep the text; is this the choice's last chunk?"""
        if self._conclude is not None and (content := choice["delta"].get("content")):
            self._texts.setdefault(choice["index"], []).append(content)
        reason = choice["finish_reason"]
        if reason is not None and reason not in ENDINGS:
            raise Unavailable(f"The engine ended the answer: {reason}", "Try again")
        return reason is not None

    def _written(self, chunk: dict[str, Any], ended: list[dict[str, Any]]) -> bytes:
        """A chunk that is not passed on byte by byte."""
        chunk["model"] = self._public
        if self._show_usage:
            chunk.setdefault("usage", None)
        for choice in chunk["choices"]:
            shape_logprobs(choice)
        for choice in ended if self._conclude is not None else ():
            assert self._conclude is not None
            index = choice["index"]
            ending = self._conclude(index, "".join(self._texts.get(index, ())))
            choice["delta"]["annotations"] = ending.pop("annotations")
            chunk.update(ending)
        return event(chunk)


def shape_logprobs(choice: dict[str, Any]) -> None:
    """OpenAI's log probabilities of a chat have a second list, which no engine of ours fills."""
    found = choice.get("logprobs")
    if found and "content" in found:
        found.setdefault("refusal", None)


def event(content: dict[str, Any]) -> bytes:
    """One server-sent event."""
    return b"data: " + orjson.dumps(content) + b"\n\n"
