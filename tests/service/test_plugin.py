"""The mend of vLLM's CPU build: a row without an adapter is left as the base made it."""

import tomllib
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from service.engines.command import Child, engine_environment
from service.engines.entries import EngineEntry
from service.engines.plugin import without_strangers

ROOT = Path(__file__).parents[2]
WEIGHTS = torch.arange(16.0).view(2, 1, 2, 4)


def shrink(
    inputs: torch.Tensor,
    weights: torch.Tensor,
    outputs: torch.Tensor,
    indices: torch.Tensor,
    scaling: float = 1.0,
) -> None:
    """As vLLM 0.32 has it: index -1 is the last slot."""
    outputs[:] = scaling * torch.einsum("bi,boi->bo", inputs, weights[indices].squeeze(1))


def test_rows_without_an_adapter_bring_nothing_and_the_others_are_untouched() -> None:
    inputs, indices = torch.randn(4, 4), torch.tensor([0, -1, 1, -1])
    wrong, right = torch.zeros(4, 2), torch.zeros(4, 2)
    shrink(inputs, WEIGHTS, wrong, indices, 2.0)
    without_strangers(shrink)(inputs, WEIGHTS, right, indices, 2.0)
    assert wrong[1].any()
    assert not right[[1, 3]].any()
    assert torch.equal(right[[0, 2]], wrong[[0, 2]])


def test_rows_of_a_whole_prompt_among_several_requests_are_left_as_the_base_made_them() -> None:
    inputs, outputs = torch.randn(5, 4), torch.zeros(5, 2)
    with pytest.raises(RuntimeError):
        shrink(inputs, WEIGHTS, outputs, torch.tensor([0, 1]))
    without_strangers(shrink)(inputs, WEIGHTS, outputs, torch.tensor([0, 1]))
    assert not outputs.any()
    without_strangers(shrink)(inputs, WEIGHTS, outputs, torch.tensor([1]))
    assert outputs.any(1).all(), "a request that is alone has its adapter on every row"


def test_a_second_mend_changes_nothing() -> None:
    once = without_strangers(shrink)
    assert without_strangers(once) is once


def test_vllm_finds_the_mend_where_the_package_is_installed() -> None:
    told = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    (place,) = told["project"]["entry-points"]["vllm.general_plugins"].values()
    module, _, name = place.partition(":")
    imported: Callable[[], None] = getattr(__import__(module, fromlist=[name]), name)
    assert callable(imported)


def test_a_choice_of_plugins_keeps_the_mend(monkeypatch: pytest.MonkeyPatch) -> None:
    child = Child(EngineEntry(name="base", base=str(ROOT)), 1)
    monkeypatch.delenv("VLLM_PLUGINS", raising=False)
    assert "VLLM_PLUGINS" not in engine_environment(child)
    monkeypatch.setenv("VLLM_PLUGINS", "theirs")
    assert engine_environment(child)["VLLM_PLUGINS"] == "theirs,dslm"
