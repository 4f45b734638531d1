"""The benchmarks' parts that need no clock: the scripted engine, a bare relay, the tables."""

import os
import time

import httpx
import orjson
import pytest

from eval.bench.bare import BareRelay, Forward
from eval.bench.relay import ChunksLost, Series, check_stream, grids
from eval.bench.swap import Timing, grid
from eval.bench.targets import AIOHTTP, HTTPX, SERVICE, cpu_seconds
from eval.bench.upstream import create_upstream

BODY = {"model": "a@1", "messages": [], "max_tokens": 5, "stream": True}


def upstream() -> httpx.AsyncClient:
    transport = httpx.ASGITransport(app=create_upstream(0.0))
    return httpx.AsyncClient(transport=transport, base_url="http://engine")


async def test_the_scripted_engine_sends_as_many_chunks_as_asked_and_ends() -> None:
    async with upstream() as engine:
        content = (await engine.post("/v1/chat/completions", json=BODY)).content
    *events, done = [part.removeprefix(b"data: ") for part in content.strip().split(b"\n\n")]
    chunks = [orjson.loads(event) for event in events]
    texts = [c["choices"][0]["delta"].get("content") for c in chunks]
    assert done == b"[DONE]"
    assert texts == ["", *(f" word{n}" for n in range(5)), ""]
    assert {c["model"] for c in chunks} == {"a@1"}
    assert [c["choices"][0]["finish_reason"] for c in chunks][-2:] == [None, "length"]


async def test_the_scripted_engine_counts_tokens_when_asked() -> None:
    body = {**BODY, "stream_options": {"include_usage": True}}
    async with upstream() as engine:
        content = (await engine.post("/v1/chat/completions", json=body)).content
    usage = orjson.loads(content.split(b"\n\n")[-3].removeprefix(b"data: "))
    assert usage["choices"] == []
    assert usage["usage"]["completion_tokens"] == 5


async def test_the_scripted_engine_lists_the_adapters_it_was_given() -> None:
    async with upstream() as engine:
        await engine.post("/v1/load_lora_adapter", json={"lora_name": "a@1", "lora_path": "/a"})
        listed = (await engine.get("/v1/models")).json()["data"]
        await engine.post("/v1/unload_lora_adapter", json={"lora_name": "a@1"})
        left = (await engine.get("/v1/models")).json()["data"]
    assert [(card["id"], card["parent"]) for card in listed] == [("base", None), ("a@1", "base")]
    assert [card["id"] for card in left] == ["base"]


async def test_a_bare_relay_copies_every_byte() -> None:
    async def connect() -> Forward:
        async def forward(body: bytes):  # type: ignore[no-untyped-def]
            yield b"data: " + body
            yield b"\n\n"

        return forward

    transport = httpx.ASGITransport(app=BareRelay(connect))
    async with httpx.AsyncClient(transport=transport, base_url="http://relay") as client:
        assert (await client.get("/ready")).status_code == 200
        reply = await client.post("/v1/chat/completions", content=b"hello")
    assert reply.content == b"data: hello\n\n"


CHUNK, DONE = b"data: {}\n\n", b"data: [DONE]\n\n"


def test_a_whole_stream_is_accepted() -> None:
    check_stream("relay", 200, CHUNK * 4 + DONE, 2)


@pytest.mark.parametrize(
    ("status", "content"),
    [(200, CHUNK * 3 + DONE), (200, CHUNK * 5), (503, CHUNK * 4 + DONE), (200, b"")],
)
def test_a_stream_that_lost_something_is_not_timed(status: int, content: bytes) -> None:
    with pytest.raises(ChunksLost, match=f"relay answered {status}"):
        check_stream("relay", status, content, 2)


@pytest.mark.skipif(not hasattr(time, "clock_gettime"), reason="no process clocks here")
def test_the_cpu_clock_of_a_process_is_its_own() -> None:
    before = time.process_time()
    assert before <= cpu_seconds(os.getpid()) <= time.process_time()


def test_relay_times_are_shown_with_ratios_to_both_peers() -> None:
    times = {HTTPX: (40.0, 44.0), AIOHTTP: (10.0, 11.0), SERVICE: (20.0, 22.0)}
    (table,) = grids([Series(name, 1000, micros) for name, micros in times.items()], 2000)
    ratios = {row[0]: row[2:] for row in table.rows}
    assert ratios[SERVICE] == ("0.50 (0.50 to 0.50)", "2.00 (2.00 to 2.00)")


def test_swap_times_are_shown_with_ratios_to_vllms_own() -> None:
    table = grid([Timing(0.1, 0.3)] * 3, [Timing(0.05, 0.2)] * 3)
    assert [row[2] for row in table.rows] == [
        "1.50 (1.50 to 1.50)",
        "1.00 (1.00 to 1.00)",
        "2.00 (2.00 to 2.00)",
        "1.00 (1.00 to 1.00)",
    ]
