"""`dslm plan`: its formulas against published counts, real files and what vLLM has slots of."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner, Result

from adapters.base import BaseProfile
from adapters.errors import BaseRefused
from adapters.shapes import PUBLISHED, SHORT, BaseShape
from adapters.tensors import read_header
from dslm import app
from indexer.domain import IndexSettings
from indexer.errors import BadInput
from indexer.index.vectors import MatrixSource, build_index
from service.engines.capacity import GPUS, Wish, fewest, fit, index_need, remedy
from service.engines.machine import MIB
from service.engines.memory import token_bytes
from service.engines.shapes import find_shape, weigh
from service.settings import DEMO
from tests.indexer.index.unit_rows import clustered_rows

# As the pages of the models state them.
STATED = {
    "Qwen/Qwen2.5-0.5B-Instruct": 494_032_768,
    "Qwen/Qwen2.5-7B-Instruct": 7_615_616_512,
    "mistralai/Mistral-7B-Instruct-v0.3": 7_248_023_552,
    "meta-llama/Llama-3.1-8B-Instruct": 8_030_261_248,
    "Qwen/Qwen3-8B": 8_190_735_360,
    "meta-llama/Llama-2-13b-chat-hf": 13_015_864_320,
    "Qwen/Qwen2.5-14B-Instruct": 14_770_033_664,
    "Qwen/Qwen2.5-32B-Instruct": 32_763_876_352,
    "meta-llama/Llama-3.1-70B-Instruct": 70_553_706_496,
    "Qwen/Qwen2.5-72B-Instruct": 72_706_203_648,
}
WISH = Wish(context=8192, answers=8, adapters=4, rank=16)


def run(*words: str) -> Result:
    return CliRunner().invoke(app, ["plan", *words])


@pytest.mark.parametrize(("name", "shape"), PUBLISHED.items())
def test_the_parameters_counted_from_a_shape_are_those_that_are_published(
    name: str, shape: BaseShape
) -> None:
    assert shape.parameters() == STATED[name]


def test_the_demonstration_base_counts_as_its_files_hold(tmp_path: Path) -> None:
    folder = DEMO / "model"
    header = read_header(folder / "model.safetensors").values()
    stored = sum(info.end - info.start for info in header)
    config = json.loads((folder / "config.json").read_text("utf-8"))
    (tmp_path / "config.json").write_text(json.dumps(config), "utf-8")
    from_config, from_files = find_shape(str(tmp_path)), find_shape(str(folder))
    assert from_config.numbers.weights == from_files.numbers.weights == stored
    assert sorted(from_config.numbers.matrices) == sorted(from_files.numbers.matrices)
    assert from_config.numbers.kv_width == from_files.numbers.kv_width
    assert (from_config.heads, from_config.kv_heads) == (from_files.heads, from_files.kv_heads)


def test_a_token_of_the_cache_is_keys_and_values_of_every_layer() -> None:
    found = find_shape("7b").numbers
    assert token_bytes(found) == 2 * 28 * 4 * 128 * 2 == 57_344
    assert token_bytes(found, 1.0) == 28_672


def test_smaller_weights_leave_embeddings_and_head_as_they_are() -> None:
    numbers = find_shape("8b").numbers
    embeddings = 2 * 2 * 128_256 * 4096
    assert weigh(numbers, "bf16") == numbers.weights
    assert numbers.weights / 2 < weigh(numbers, "fp8") < numbers.weights / 2 + embeddings
    assert embeddings < weigh(numbers, "int4") < 6 * 2**30  # 5.7 GB: the AWQ files of this base


@pytest.mark.parametrize("kind", ["flat", "fp16", "ivf-sq8", "ivf-rabitq"])
def test_an_index_takes_what_is_planned_within_three_in_a_hundred(
    tmp_path: Path, kind: str
) -> None:
    rows = clustered_rows(4000, 96, seed=1)
    settings = IndexSettings.model_validate({"kind": kind, "recall": 0.5})
    made = build_index(MatrixSource(np.asarray(rows)), settings, tmp_path / "vectors")
    assert made.kind == kind
    real = (tmp_path / "vectors").stat().st_size
    assert index_need(4000, 96, kind).vectors == pytest.approx(real, rel=0.03)


def test_what_fits_gets_a_cache_for_every_answer_within_the_gpu() -> None:
    base = find_shape("8b")
    found = fit(base, WISH, "L40S", 1)
    assert found.fits
    assert found.cache >= 8 * 8192 * found.need.token
    assert found.need.fixed + found.cache < GPUS["L40S"] * MIB


def test_two_gpus_share_weights_and_cache_but_never_split_a_kv_head() -> None:
    base = find_shape("7b")  # 28 heads, 4 of them for keys and values
    one, four = fit(base, WISH, "H100", 1).need, fit(base, WISH, "H100", 4).need
    assert four.weights == pytest.approx(one.weights / 4, abs=1)
    assert four.token == one.token / 4
    eight = fit(replace(base, kv_heads=2), WISH, "H100", 4).need
    assert eight.token == one.token / 2


@pytest.mark.parametrize("size", SHORT)
def test_every_remedy_that_is_offered_is_one(size: str) -> None:
    base, wish = find_shape(size), replace(WISH, context=4096, answers=32)
    short = [found for found in (fit(base, wish, gpu, 1) for gpu in GPUS) if not found.fits]
    for found in short:
        for way in remedy(base, wish, found).split("; or "):
            assert _tried(base, wish, found.gpu, way), (size, found.gpu, way)


def _tried(base: Any, wish: Wish, gpu: str, way: str) -> bool:
    word, _, value = way.partition(" ")
    changes: dict[str, dict[str, Any]] = {
        "--kv": {"fp8_cache": True},
        "--weights": {"weights": value},
        "--answers": {"answers": int(value) if value.isdigit() else 0},
        "--context": {"context": int(value) if value.isdigit() else 0},
        "fewer": {"adapters": 1},
    }
    if word.isdigit():
        return fit(base, wish, gpu, int(word)).fits
    if word == "a":
        return not fewest(base, wish, gpu).fits
    return fit(base, replace(wish, **changes[word]), gpu, 1).fits


def test_the_command_names_every_gpu_and_says_which_do() -> None:
    said = run("8b", "--answers", "4")
    assert said.exit_code == 0
    assert all(f" x {gpu}" in said.output for gpu in GPUS)
    assert "1 x L40S     yes     4 answers" in said.output


def test_what_does_not_fit_is_exit_code_2_with_what_would() -> None:
    said = run("70b", "--gpu", "h100", "--gpus", "1", "--json")
    found = json.loads(said.output)["gpus"]
    assert said.exit_code == 2
    assert [(one["gpu"], one["count"], one["fits"]) for one in found] == [("H100", 1, False)]
    assert found[0]["what_would_fit"] == "4 of them"


@pytest.mark.parametrize(
    ("words", "named"),
    [
        (["9b"], "There is no base 9b"),
        (["8b", "--gpu", "Z9"], "The GPU Z9 is not known"),
        (["7b", "--gpus", "8"], "28 heads"),
        (["13b", "--context", "8192"], "reads 4,096 tokens"),
    ],
)
def test_a_wrong_value_is_named(words: list[str], named: str) -> None:
    said = run(*words)
    assert isinstance(said.exception, BadInput)
    assert named in str(said.exception)
    assert said.exception.remedy


@pytest.mark.parametrize(
    ("content", "named"),
    [
        ("{", "not valid JSON"),
        ("[]", "not a JSON object"),
        ('{"hidden_size": 8}', "num_attention_heads"),
        ('{"num_local_experts": 8}', "mixture of experts"),
    ],
)
def test_a_config_that_says_too_little_is_refused(tmp_path: Path, content: str, named: str) -> None:
    (tmp_path / "config.json").write_text(content, encoding="utf-8")
    with pytest.raises(BaseRefused, match=named):
        find_shape(str(tmp_path))


def test_the_profile_of_a_base_with_weights_is_what_serving_reads() -> None:
    profile = BaseProfile.read(DEMO / "model")
    assert find_shape(str(DEMO / "model")).context == profile.context
