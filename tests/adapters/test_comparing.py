"""Two versions side by side, and a version's card."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from adapters.base import BaseProfile
from adapters.comparing import card, differences, likeness
from adapters.merging.deltas import Delta
from adapters.registry import AdapterRegistry
from indexer.settings import Paths

if TYPE_CHECKING:
    from .conftest import WriteAdapter


def test_what_differs_between_versions_is_named(
    paths: Paths, base: BaseProfile, write_adapter: "WriteAdapter", tensors: Any
) -> None:
    registry = AdapterRegistry(paths)
    one = registry.add(write_adapter(), "a", base=base, prompt_format="sentences", note="first")
    other = registry.add(
        write_adapter(tensors(rank=8), "b", r=8), "a", base=base, prompt_format="passages"
    )
    assert list(differences(one, other)) == [
        ("note", "first", ""),
        ("prompt_format", "sentences", "passages"),
        ("rank", "4", "8"),
    ]
    assert not list(differences(one, one))


def test_likeness_is_the_cosine_of_the_changes_themselves(
    write_adapter: "WriteAdapter", tensors: Any
) -> None:
    one, other = write_adapter(tensors(seed=1), "a"), write_adapter(tensors(seed=2), "b")
    found = likeness(one, other)
    mine, theirs = (
        np.concatenate([_full(Delta.open(folder), stem) for stem in Delta.open(one).pairs])
        for folder in (one, other)
    )
    cosine = (mine * theirs).sum() / np.linalg.norm(mine) / np.linalg.norm(theirs)
    assert found.cosine == pytest.approx(cosine, abs=1e-5)
    assert found.size == pytest.approx(np.linalg.norm(mine), rel=1e-5)
    assert likeness(one, one).cosine == pytest.approx(1.0)


def _full(delta: Delta, stem: str) -> Any:
    factors = delta.factors(stem)
    assert factors
    return factors.delta()


def test_a_module_that_only_one_changes_is_apart_by_its_whole_size(
    write_adapter: "WriteAdapter", tensors: Any
) -> None:
    both = tensors()
    one = {key: value for key, value in both.items() if "layers.0" in key}
    found = likeness(write_adapter(one, "a"), write_adapter(both, "b"))
    ((name, gap), *_) = found.apart
    assert name == "model.layers.1.self_attn.q_proj"
    assert gap == pytest.approx((found.other_size**2 - found.size**2) ** 0.5, rel=1e-5)


def test_a_card_says_what_is_known_and_nothing_of_this_machine(
    paths: Paths, base: BaseProfile, write_adapter: "WriteAdapter", tmp_path: Path
) -> None:
    added = AdapterRegistry(paths).add(
        write_adapter(), "a", base=base, prompt_format="sentences", note="For tests"
    )
    text = card(added)
    assert text.startswith("# a@1\n\nFor tests\n")
    for said in (added.digest, base.digest, "| rank | 4 |", "adapter_model.safetensors"):
        assert said in text
    assert str(tmp_path) not in text
