"""A chunk like the one before is passed on unparsed, and never a chunk that is not like it."""

from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.answer.pattern import Pattern, learn

OLD, NEW = b'"model":"a@1"', b'"model":"support"'


def chunk(content: str | None, **more: Any) -> bytes:
    delta = {} if content is None else {"content": content}
    choice = {"index": 0, "delta": delta, "finish_reason": None, **more}
    return orjson.dumps({"id": "1", "model": "a@1", "choices": [choice], "token_ids": None})


def learnt(payload: bytes, *, show_usage: bool = False) -> Pattern | None:
    return learn(payload, orjson.loads(payload), OLD, NEW, show_usage=show_usage)


def pattern(payload: bytes, *, show_usage: bool = False) -> Pattern:
    found = learnt(payload, show_usage=show_usage)
    assert found is not None
    return found


@given(st.text(), st.text())
def test_whatever_is_said_the_next_chunk_is_read_and_written_as_if_parsed(a: str, b: str) -> None:
    found, following = learnt(chunk(a)), chunk(b)
    if found is None:  # the text looks like what stands around it
        return
    assert found.text(following) == b
    sent = orjson.loads(found.event(following).removeprefix(b"data: "))
    assert sent == {**orjson.loads(following), "model": "support"}
    assert orjson.loads(found.saying(a).removeprefix(b"data: "))["choices"][0]["delta"] == {
        "content": a
    }


@pytest.mark.parametrize("said", ["", " word", 'a "quoted" \\ text', "\u2028 é 中"])
def test_every_ordinary_text_is_learnt_from(said: str) -> None:
    assert learnt(chunk(said)) is not None


@pytest.mark.parametrize(
    "other",
    [
        chunk("", finish_reason="stop"),
        chunk(None),
        chunk("x", index=1),
        chunk("x").replace(b'"content":"x"', b'"content":"x","tool_calls":[]'),
        chunk("x").replace(b'"content":"x"', b'"content":null'),
        chunk("x").replace(b'"content":"x"', b'"content":"x","content":"y"'),
        chunk("x").replace(b'"id":"1"', b'"id":"2"'),
        b"[DONE]",
        b'{"error": {"message": "dead"}}',
        b"",
    ],
)
def test_another_kind_of_chunk_is_not_taken_for_an_ordinary_one(other: bytes) -> None:
    assert pattern(chunk("word")).text(other) is None


@pytest.mark.parametrize(
    "payload",
    [
        chunk("", finish_reason="stop"),
        chunk(None),
        chunk("word").replace(b"a@1", b"another"),
        chunk("word").replace(b'"delta":', b'"before":{"content":"word"},"delta":'),
        chunk("é").replace("é".encode(), b"\\u00e9"),
        orjson.dumps({"model": "a@1", "choices": [], "usage": {"total_tokens": 1}}),
        orjson.dumps(
            {"model": "a@1", "choices": [{"index": 0, "text": "x", "finish_reason": None}]}
        ),
    ],
)
def test_nothing_is_learnt_from_what_is_not_sure(payload: bytes) -> None:
    assert learnt(payload) is None


def test_where_usage_is_shown_an_ordinary_chunk_says_null() -> None:
    found = pattern(chunk("a"), show_usage=True)
    assert orjson.loads(found.event(chunk("b")).removeprefix(b"data: "))["usage"] is None
