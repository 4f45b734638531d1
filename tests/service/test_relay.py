"""A relayed stream keeps its bytes but for the name, ends with citations, and hides no failure."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import orjson
import pytest

from adapters.prompt import Source
from service.answer.markers import Markers
from service.answer.relay import Relay
from service.errors import ServiceError, Unavailable


class Script:
    """A stream that says what it is told to, then raises or ends."""

    def __init__(self, *payloads: bytes, failure: ServiceError | None = None) -> None:
        self._payloads = payloads
        self._failure = failure

    async def events(self) -> AsyncIterator[list[bytes]]:
        for payload in self._payloads:
            yield [payload]
        if self._failure:
            raise self._failure

    def close(self) -> None:
        return


def chunk(content: str | None, finish: str | None = None) -> bytes:
    delta = {} if content is None else {"content": content}
    choice = {"index": 0, "delta": delta, "finish_reason": finish}
    return orjson.dumps({"id": "1", "model": "a@1", "choices": [choice]})


def relayed(
    script: Script, *, usage: bool = True, sources: tuple[Source, ...] | None = None, **more: Any
) -> tuple[bytes, Relay]:
    seen: list[str] = []

    def conclude(index: int, markers: Markers) -> dict[str, object]:
        seen.append(markers.text)
        return {"annotations": [{"of": markers.text, "index": index}], "dslm": {"release": 1}}

    relay = Relay(
        script,  # type: ignore[arg-type]
        "a@1",
        "support",
        lambda: Markers(sources),
        conclude,
        show_usage=usage,
        **more,
    )

    async def run() -> bytes:
        return b"".join([part async for part in relay.body()])

    return asyncio.run(run()), relay


def payloads(body: bytes) -> list[dict[str, object]]:
    events = [e.removeprefix(b"data: ") for e in body.split(b"\n\n") if e]
    return [orjson.loads(e) for e in events if e != b"[DONE]"]


def test_only_the_model_name_changes_in_an_ordinary_chunk() -> None:
    said = chunk("a@1 is a name")
    body, _ = relayed(Script(said, b"[DONE]"), usage=False)
    assert body.startswith(b"data: " + said.replace(b'"model":"a@1"', b'"model":"support"'))
    assert b"a@1 is a name" in body


def test_the_last_chunk_carries_citations_of_the_whole_text() -> None:
    body, relay = relayed(Script(chunk("[1] The"), chunk(" lid."), chunk("", "stop"), b"[DONE]"))
    last = payloads(body)[-1]
    assert last["dslm"] == {"release": 1}
    assert last["choices"][0]["delta"]["annotations"] == [{"of": "[1] The lid.", "index": 0}]  # type: ignore[index]
    assert body.endswith(b"data: [DONE]\n\n")
    assert relay.completed


@pytest.mark.parametrize(
    "script",
    [
        Script(chunk("half"), failure=Unavailable("The engine went away")),
        Script(chunk("half")),
        Script(chunk("half"), b'{"error": {"message": "engine dead"}}', b"[DONE]"),
    ],
    ids=["connection lost", "ended early", "error event then DONE"],
)
def test_a_failed_stream_ends_with_an_error_and_never_with_done(script: Script) -> None:
    body, relay = relayed(script)
    assert "error" in payloads(body)[-1]
    assert b"[DONE]" not in body
    assert not relay.completed


def test_a_stream_of_the_bare_base_has_no_domain_to_speak_of() -> None:
    relay = Relay(
        Script(chunk("x"), chunk("", "stop"), b"[DONE]"),  # type: ignore[arg-type]
        "base",
        "base",
        lambda: Markers(None),
        lambda *_: {"annotations": []},
    )

    async def run() -> bytes:
        return b"".join([part async for part in relay.body()])

    body = asyncio.run(run())
    assert body.endswith(b"data: [DONE]\n\n")
    assert b"dslm" not in body


def test_what_is_no_chunk_becomes_an_error_event() -> None:
    body, _ = relayed(Script(chunk("said before"), b"{not json"))
    assert b"said before" in body
    assert "error" in payloads(body)[-1]


def test_each_of_several_choices_gets_its_own_citations() -> None:
    def two(finish: str | None) -> bytes:
        texts = enumerate(("first", "second"))
        choices = [{"index": i, "delta": {"content": t}, "finish_reason": finish} for i, t in texts]
        return orjson.dumps({"id": "1", "model": "a@1", "choices": choices})

    body, _ = relayed(Script(two("stop"), b"[DONE]"))
    ends = payloads(body)[-1]["choices"]
    said = [end["delta"]["annotations"][0]["of"] for end in ends]  # type: ignore[attr-defined]
    assert said == ["first", "second"]


def test_usage_is_noted_and_passed_on() -> None:
    usage = orjson.dumps({"model": "a@1", "choices": [], "usage": {"prompt_tokens": 5}})
    body, relay = relayed(Script(chunk("x"), chunk("", "stop"), usage, b"[DONE]"))
    assert relay.usage == {"prompt_tokens": 5}
    assert payloads(body)[-1]["usage"] == {"prompt_tokens": 5}


def test_where_usage_is_shown_every_chunk_before_it_says_null() -> None:
    body, _ = relayed(Script(chunk("x"), chunk("", "stop"), b"[DONE]"))
    assert [part["usage"] for part in payloads(body)] == [None, None]


def test_an_ending_that_openai_does_not_know_is_a_failure() -> None:
    body, relay = relayed(Script(chunk("x"), chunk("", "abort"), b"[DONE]"))
    assert "error" in payloads(body)[-1]
    assert b"[DONE]" not in body
    assert not relay.completed


def test_log_probabilities_take_openais_shape() -> None:
    choice = {"index": 0, "delta": {"content": "x"}, "finish_reason": None}
    said = orjson.dumps({"model": "a@1", "choices": [{**choice, "logprobs": {"content": []}}]})
    relay = Relay(
        Script(said, b"[DONE]"),  # type: ignore[arg-type]
        "a@1",
        "support",
        lambda: Markers(None),
        lambda *_: {"annotations": []},
        has_logprobs=True,
    )

    async def run() -> bytes:
        return b"".join([part async for part in relay.body()])

    (part,) = payloads(asyncio.run(run()))
    assert part["choices"][0]["logprobs"] == {"content": [], "refusal": None}  # type: ignore[index]
    assert part["model"] == "support"


def test_a_marker_that_names_nothing_is_taken_out_though_it_came_in_pieces() -> None:
    parts = [chunk(part) for part in ("Red [", "9", "] it [4", "] is [2024")]
    body, _ = relayed(Script(*parts, chunk("", "stop"), b"[DONE]"), sources=())
    said = [part["choices"][0]["delta"].get("content") for part in payloads(body)]  # type: ignore[index]
    assert said == ["Red ", "", " it ", " is [2024", ""]


def test_what_was_held_back_comes_with_the_end_though_that_says_nothing_itself() -> None:
    script = Script(chunk("See [1"), chunk(None, "length"), b"[DONE]")
    last = payloads(relayed(script, sources=())[0])[-1]["choices"][0]  # type: ignore[index]
    assert last["delta"]["content"] == "[1"
    assert last["delta"]["annotations"] == [{"of": "See [1", "index": 0}]


def test_an_end_that_tells_the_tokens_waits_for_the_engines_count() -> None:
    usage = orjson.dumps({"model": "a@1", "choices": [], "usage": {"prompt_tokens": 5}})
    said = [chunk("x"), chunk("", "stop"), usage, b"[DONE]"]
    for shown, told in ((True, [None, None, {"prompt_tokens": 5}]), (False, [0, 0])):
        body, relay = relayed(Script(*said), usage=shown, ends_with_usage=True)
        parts = payloads(body)
        assert [part.get("usage", 0) for part in parts] == told
        assert parts[1]["dslm"] == {"release": 1}
        assert relay.completed
    silent, _ = relayed(Script(*said[:2], b"[DONE]"), ends_with_usage=True)
    assert payloads(silent)[-1]["dslm"] == {"release": 1}
