"""The benches of the service: they run, and what they print is what was measured."""

import asyncio
from pathlib import Path

import httpx
import pytest

from eval.bench import json_answers, retrieval_added, soak
from eval.bench.bare import CHAT, fastapi_app
from eval.bench.json_answers import Gaps, JsonSettings, Load
from eval.bench.prefixes import Composed, demonstrations_sorted, passages_first, question_first
from eval.bench.prefixes import shared as shared_part
from eval.bench.relay import ChunksLost, Series, check_words
from eval.bench.relay import grids as relay_grids
from eval.bench.retrieval_added import Asked, Throughput
from eval.bench.soak import Soaked
from eval.bench.targets import AIOHTTP, FASTAPI, HTTPX, LITELLM, SERVICE
from eval.bench.upstream import create_upstream
from tests.service.fake_engine import serving

SOLVED = (
    {"role": "user", "content": "b?"},
    {"role": "assistant", "content": "b"},
    {"role": "user", "content": "a?"},
    {"role": "assistant", "content": "a"},
)
COMPOSED = Composed(
    "Why?",
    (
        {"role": "system", "content": "Be brief."},
        *SOLVED,
        {"role": "user", "content": "[1] P\n\nWhy?"},
    ),
)


def test_of_equal_prompts_all_but_the_first_is_cached_but_for_the_last_block() -> None:
    assert shared_part([list(range(32))] * 2, block=16) == 16 / 64
    assert shared_part([list(range(40))] * 2, block=16) == 32 / 80


def test_a_prompt_shares_only_what_it_begins_with() -> None:
    first, other = [1] * 16 + [2] * 16 + [9], [3] * 16 + [2] * 16 + [9]
    assert shared_part([first, other], block=16) == 0.0
    assert shared_part([first, [1] * 16 + [4] * 17], block=16) == 16 / 66
    assert shared_part([], block=16) == 0.0


def test_other_orders_hold_the_same_parts() -> None:
    contents = [turn["content"] for turn in demonstrations_sorted(COMPOSED)]
    assert contents == ["Be brief.", "a?", "a", "b?", "b", "[1] P\n\nWhy?"]
    contents = [turn["content"] for turn in passages_first(COMPOSED)]
    assert contents == ["Be brief.", "[1] P\n\n", "b?", "b", "a?", "a", "Why?"]
    contents = [turn["content"] for turn in question_first(COMPOSED)]
    assert contents == ["Be brief.", "Why?", "b?", "b", "a?", "a", "[1] P\n\n"]


def test_the_relays_table_has_litellm_where_it_ran_and_no_column_for_it_elsewhere() -> None:
    times = {HTTPX: (40.0,), AIOHTTP: (10.0,), SERVICE: (20.0,)}
    series = [Series(name, 1000, micros) for name, micros in times.items()]
    assert len(relay_grids(series, 10)[0].head) == 4
    (table,) = relay_grids([*series, Series(LITELLM, 1000, (400.0,))], 10)
    assert dict(zip(table.head, table.rows[2], strict=True))[f"ratio to {LITELLM}"][:4] == "0.05"


def test_words_must_all_arrive_whatever_stands_around_them() -> None:
    check_words("relay", 200, b"word0 and word1", 2)
    for status, content in ((200, b"word0"), (500, b"word0 word1")):
        with pytest.raises(ChunksLost, match="without all of 2 words"):
            check_words("relay", status, content, 2)


def test_requests_per_core_are_told_as_a_ratio_to_bare_fastapi() -> None:
    loads = [Load(FASTAPI, 1000, (100.0, 200.0), (1.0, 1.0))]
    loads.append(Load(SERVICE, 1000, (125.0, 250.0), (2.0, 2.0)))
    table, gaps = json_answers.grids(loads, [Gaps(SERVICE, True, 9.5, 3.0)])
    assert table.rows[1][1] == f"{1e6 / 187.5:,.0f}"
    assert table.rows[1][3].startswith("0.80")
    assert gaps.rows == ((SERVICE, "yes", "9.5", "3.0"),)


def test_what_retrieval_adds_is_told_question_by_question() -> None:
    asked = Asked(new=(30.0, 40.0), known=(12.0, 13.0), without=(10.0, 10.0))
    rates = [Throughput(1, 50.0, 40.0, 1.0), Throughput(16, 20.0, 18.0, 7.5)]
    added, batches = retrieval_added.grids(asked, rates, 1000)
    assert [row[1] for row in added.rows] == ["10.0", "12.5", "35.0", "2.5", "22.5"]
    assert batches.rows[1] == ("16", "50.0", "2.50", "18.0", "7.5")


def test_a_soak_tells_how_the_memory_grew() -> None:
    memory = tuple(float(500 + number) for number in range(10))
    table, starts = soak.grids(Soaked(memory, (20,) * 10, 10.0, (1.0, 2.0, 3.0), 1000))
    assert "+9 MiB" in table.title
    assert starts.rows[0][1] == "2.00 (1.00 to 3.00)"


async def test_bare_fastapi_gives_back_the_engines_whole_answer() -> None:
    body = {"model": "base", "messages": [], "max_tokens": 3}
    with serving(create_upstream(0.0)) as address, serving(fastapi_app(address)) as bare:
        async with httpx.AsyncClient() as client:
            answer = (await client.post(bare + CHAT, json=body)).json()
    assert answer["choices"][0]["message"]["content"] == " word0 word1 word2"


@pytest.mark.slow
def test_the_benches_run(tmp_path: Path) -> None:
    """Whole answers and gaps, at a tiny size; the others start the same service."""
    small = JsonSettings(requests=4, at_once=2, rounds=1, prompts=(1000, 20_000), chunks=5)
    loads, gaps = asyncio.run(json_answers.measure(small, tmp_path, print))
    assert len(loads) == 8
    assert all(load.processor[0] > 0 for load in loads)
    assert len(gaps) == 6
