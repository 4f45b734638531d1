"""The adapters' bench: shapes that this product takes, loads that count every token, refusals."""

from pathlib import Path

import pytest
from transformers import AutoTokenizer
from typer.testing import CliRunner

from adapters.base import BaseProfile
from adapters.shapes import PUBLISHED
from adapters.verify import verify_adapter
from eval.bench.__main__ import app
from eval.bench.adapters import (
    AdaptersSettings,
    AnswerLost,
    Load,
    grid,
    load_adapters,
    measure,
    targets,
)
from eval.bench.shaped import write_adapter, write_base
from indexer.errors import BadInput
from service.engines.shapes import find_shape
from tests.service.fake_engine import FakeEngine, serving

FAST = AdaptersSettings(counts=(0, 2), clients=2, requests=4, prompt=3, answer=2, rounds=1)
SMALL = "Qwen/Qwen2.5-0.5B-Instruct"


def test_a_shape_is_a_base_of_the_published_size_that_takes_no_disk(tmp_path: Path) -> None:
    folder = write_base("7B", tmp_path)
    shape, found = PUBLISHED["Qwen/Qwen2.5-7B-Instruct"], find_shape(str(folder))
    weights = folder / "model.safetensors"
    assert found.numbers.weights == pytest.approx(2 * shape.parameters(), rel=1e-3)
    assert weights.stat().st_size > 15e9
    assert weights.stat().st_blocks * 512 < 1e6
    assert (found.heads, found.kv_heads, found.context) == (28, 4, 32_768)


def test_each_token_of_a_shape_is_a_word(tmp_path: Path) -> None:
    tokenizer = AutoTokenizer.from_pretrained(write_base(SMALL, tmp_path, layers=1))
    assert tokenizer("w17 w151935")["input_ids"] == [17, 151_935]
    assert tokenizer.apply_chat_template([{"role": "user", "content": "w7"}], tokenize=False)


def test_an_adapter_of_random_numbers_fits_its_base(tmp_path: Path) -> None:
    base = BaseProfile.read(write_base(SMALL, tmp_path, layers=2))
    facts = verify_adapter(write_adapter(base, tmp_path / "adapter", 8), base, 8)
    assert facts.rank == 8
    assert sorted(facts.target_modules) == sorted(
        f"{part}_proj" for part in ("q", "k", "v", "o", "gate", "up", "down")
    )


async def test_every_target_gets_the_same_load_and_adapters_take_turns() -> None:
    fake = FakeEngine()
    with serving(fake.app) as url:
        names = await load_adapters(url, Path("/adapter"), 2)
        chosen = targets(url, url, names, FAST.counts)
        loads = await measure(chosen, FAST)
    assert [target.name for target in chosen] == list(loads)
    assert all(len(taken) == 1 and taken[0].tokens == 8 for taken in loads.values())
    assert all(len(taken[0].first) == 4 for taken in loads.values())
    asked = [body["model"] for body in fake.asked]
    assert asked.count("bench-0") == asked.count("bench-1") == 4
    assert asked.count("base") == 16
    assert all(len(body["prompt"]) == 3 for body in fake.asked)


async def test_a_refused_answer_is_no_measurement() -> None:
    with serving(FakeEngine().app) as url:
        with pytest.raises(AnswerLost, match=r"1 adapter: .* answered 404"):
            await measure(targets(url, url, ["unknown"], (1,)), FAST)


async def test_an_adapter_that_vllm_refuses_is_told() -> None:
    with serving(FakeEngine().app) as url:
        with pytest.raises(AnswerLost, match="No adapter found"):
            await load_adapters(url, Path("/missing"), 1)


def test_rates_are_ratios_to_the_first_round_by_round() -> None:
    loads = {
        "vLLM, no adapters": [Load(100, 1.0, [0.5], [0.01, 0.02]), Load(300, 1.0, [0.5], [0.01])],
        "vLLM, 1 adapter": [Load(50, 1.0, [0.6], [0.03]), Load(150, 1.0, [0.6], [0.03])],
    }
    table = grid(loads, AdaptersSettings(), "tiny")
    assert {len(row) for row in table.rows} == {len(table.head)}
    assert table.rows[1][1:4] == ("100 (50 to 150)", "0.50 (0.50 to 0.50)", "600.0")


@pytest.mark.parametrize(
    ("options", "complaint"),
    [(["--counts", "some"], "--counts: 'some'"), (["--counts", "-1"], "--counts: '-1'")],
)
def test_what_cannot_be_measured_is_refused(options: list[str], complaint: str) -> None:
    outcome = CliRunner().invoke(app, ["adapters", *options])
    assert isinstance(outcome.exception, BadInput)
    assert complaint in outcome.exception.message


def test_an_unknown_shape_is_refused_with_those_there_are(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="no shape '9b'") as refused:
        write_base("9b", tmp_path)
    assert "70b" in str(refused.value.remedy)
