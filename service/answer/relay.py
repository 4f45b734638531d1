"""Passes a streamed answer on: renames the model, adds citations, and never hides a failure.

A chunk is parsed once, to follow the text; its bytes are passed on with the name replaced, unless
its text is not passed on as it came.
"""

import logging
from collections.abc import AsyncIterator, Callable
from typing import Any

import orjson

from service.answer.markers import Markers
from service.answer.pattern import Pattern, learn
from service.engines.stream import EngineStream
from service.errors import ServiceError, Unavailable, envelope

log = logging.getLogger("dslm.relay")
DONE = b"data: [DONE]\n\n"
# vLLM's, in later pieces of a call that must be made; OpenAI has a name or none. Within a text the
# quotes would be escaped.
NAMELESS = b'"function":{"name":null,'
# Given a choice's index and what followed its text: what its last chunk carries.
Conclude = Callable[[int, Markers], dict[str, Any]]
# How an answer may end; vLLM knows more ways, which are failures.
ENDINGS = frozenset({"stop", "length", "tool_calls", "content_filter", "function_call"})
# A stream of one choice has two patterns; one of several, in turns, would be learnt for ever.
MOST_PATTERNS = 8


class Relay:
    """One streamed answer; `completed`, `usage` and `answer_id` tell afterwards how it went.

    The engine is always asked for usage; `show_usage` says whether the client wants to see it:
    then, as OpenAI has it, every chunk before that one says null. `follow` makes what checks the
    text of one choice, and `conclude` says what that ends with; both are None for a legacy
    completion, whose chunks hold bare text. `has_logprobs`: chunks bring log probabilities, which
    vLLM shapes a little differently. `ends_with_usage`: the last of the `choices` is concluded
    only when the engine has told its count of tokens.
    """

    def __init__(
        self,
        stream: EngineStream,
        engine_name: str,
        public: str,
        follow: Callable[[], Markers] | None,
        conclude: Conclude,
        *,
        show_usage: bool = True,
        has_logprobs: bool = False,
        ends_with_usage: bool = False,
        choices: int = 1,
    ) -> None:
        self._stream = stream
        self._old = b'"model":' + orjson.dumps(engine_name)
        self._new = b'"model":' + orjson.dumps(public)
        self._public = public
        self._follow = follow
        self._conclude = conclude
        self._show_usage = show_usage
        self._has_logprobs = has_logprobs
        self._ends_with_usage = ends_with_usage
        self._running = choices
        self._markers: dict[int, Markers] = {}
        self._pattern: Pattern | None = None
        self._learnt = 0
        self._last: tuple[dict[str, Any], list[dict[str, Any]]] | None = None
        self.usage: dict[str, int] = {}
        self.answer_id = ""
        self.completed = False

    def text(self, index: int = 0) -> str:
        """What a choice of a chat has said so far."""
        found = self._markers.get(index)
        return found.text if found else ""

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
        if self._pattern and (text := self._pattern.text(payload)) is not None:
            said = self._said(self._pattern.index, text)
            return self._pattern.event(payload) if said == text else self._pattern.saying(said)
        if payload == b"[DONE]":
            self.completed = True
            return self._concluded() + DONE
        return self._parsed(payload)

    def _parsed(self, payload: bytes) -> bytes:
        """A chunk that is not like the one before."""
        payload = payload.replace(NAMELESS, b'"function":{')
        chunk = orjson.loads(payload)
        if "error" in chunk:
            raise Unavailable(f"The engine failed: {chunk['error'].get('message')}", "Try again")
        choices = chunk["choices"]
        self.answer_id = self.answer_id or str(chunk.get("id") or "")
        before = b""
        if usage := chunk.get("usage"):
            self.usage = usage
            if not choices:
                before = self._concluded()
                if not self._show_usage:
                    return before
        changed = [choice for choice in choices if self._check(choice)]
        if changed or self._has_logprobs or self._old not in payload:
            return before + self._changed(chunk, changed)
        self._learn(payload, chunk)
        renamed = payload.replace(self._old, self._new, 1)
        if self._show_usage and "usage" not in chunk:
            renamed = renamed[:-1] + b',"usage":null}'
        return before + b"data: " + renamed + b"\n\n"

    def _learn(self, payload: bytes, chunk: dict[str, Any]) -> None:
        if self._learnt < MOST_PATTERNS:
            self._learnt += 1
            found = learn(payload, chunk, self._old, self._new, show_usage=self._show_usage)
            self._pattern = found or self._pattern

    def _said(self, index: int, text: str) -> str:
        """What may be passed on of a choice's text now that this has come."""
        if self._follow is None:
            return text
        markers = self._markers.get(index)
        if markers is None:
            markers = self._markers[index] = self._follow()
        return markers.feed(text)

    def _check(self, choice: dict[str, Any]) -> bool:
        """Follow the text; must the chunk be written anew, since this is not as it came?"""
        reason = choice["finish_reason"]
        if reason is not None and reason not in ENDINGS:
            raise Unavailable(f"The engine ended the answer: {reason}", "Try again")
        if self._follow is None:
            return reason is not None
        index, content = choice["index"], choice["delta"].get("content")
        said = self._said(index, content or "")
        if reason is not None:
            said += self._markers[index].end()
        if said != (content or ""):
            choice["delta"]["content"] = said
            return True
        return reason is not None

    def _changed(self, chunk: dict[str, Any], changed: list[dict[str, Any]]) -> bytes:
        """Now, or, if all that is missing is the count of tokens, with that."""
        ended = [choice for choice in changed if choice["finish_reason"] is not None]
        self._running -= len(ended)
        if ended and self._ends_with_usage and self._running <= 0:
            self._last = chunk, ended
            return b""
        return self._written(chunk, ended)

    def _concluded(self) -> bytes:
        """The chunk that waited, if one did."""
        last, self._last = self._last, None
        return self._written(*last) if last else b""

    def _written(self, chunk: dict[str, Any], ended: list[dict[str, Any]]) -> bytes:
        """A chunk that is not passed on byte by byte."""
        chunk["model"] = self._public
        if self._show_usage:
            chunk.setdefault("usage", None)
        for choice in chunk["choices"]:
            shape_logprobs(choice)
        for choice in ended if self._follow is not None else ():
            index = choice["index"]
            ending = self._conclude(index, self._markers[index])
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
