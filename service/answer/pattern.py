"""What the chunks of one stream have in common: they differ in their text alone.

Learnt from one parsed chunk and proven there, so that it holds whatever the engine writes around.
"""

from dataclasses import dataclass
from typing import Any

import orjson

PROBE = '"\\\x00'  # stands for any text: it takes escapes, as no shorter one would show


@dataclass(frozen=True, slots=True)
class Pattern:
    """The bytes around the text of an ordinary chunk: as they come, and as events that go out."""

    index: int
    head: bytes
    tail: bytes
    new_head: bytes
    new_tail: bytes

    def text(self, payload: bytes) -> str | None:
        """What an ordinary chunk says; None if `payload` is another kind of chunk."""
        if not (payload.startswith(self.head) and payload.endswith(self.tail)):
            return None
        try:
            said = orjson.loads(payload[len(self.head) : -len(self.tail)])
        except orjson.JSONDecodeError:
            return None
        return said if isinstance(said, str) else None

    def event(self, payload: bytes) -> bytes:
        """The same chunk for the client, its text byte by byte as it came."""
        return self.new_head + payload[len(self.head) : -len(self.tail)] + self.new_tail

    def saying(self, text: str) -> bytes:
        """A chunk for the client with another text."""
        return self.new_head + orjson.dumps(text) + self.new_tail


def learn(
    payload: bytes, chunk: dict[str, Any], old: bytes, new: bytes, *, show_usage: bool
) -> Pattern | None:
    """The pattern of `payload`, which was parsed to `chunk`; None if it is no ordinary one.

    `old` and `new`: the model's name with its key, as it stands there and as the client knows it.
    """
    choices = chunk["choices"]
    if len(choices) != 1 or choices[0]["finish_reason"] is not None or chunk.get("usage"):
        return None
    choice = choices[0]
    said = choice["delta"].get("content") if "delta" in choice else None
    if not isinstance(said, str):
        return None
    key = b'"content":'
    head, _, tail = payload.partition(key + orjson.dumps(said))
    head += key
    if old not in head or not _holds(head, tail, chunk, choice):
        return None
    ending = tail[:-1] + b',"usage":null}' if show_usage and "usage" not in chunk else tail
    new_head = b"data: " + head.replace(old, new, 1)
    return Pattern(choice["index"], head, tail, new_head, ending + b"\n\n")


def _holds(head: bytes, tail: bytes, chunk: dict[str, Any], choice: dict[str, Any]) -> bool:
    """Does another text between `head` and `tail` change the choice's content and nothing else?"""
    other = {**chunk, "choices": [{**choice, "delta": {**choice["delta"], "content": PROBE}}]}
    try:
        parsed: object = orjson.loads(head + orjson.dumps(PROBE) + tail)
    except orjson.JSONDecodeError:
        return False
    return parsed == other
