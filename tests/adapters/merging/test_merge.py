"""Merging: a linear merge is the sum to the last digit; what a lower rank loses is said."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch
from peft import PeftModel
from transformers import AutoModelForCausalLM

from adapters.base import BaseProfile
from adapters.merging.deltas import Delta, Factors
from adapters.merging.joining import compressed, dare, factored, ties
from adapters.merging.merge import MergeSettings, Part, merge
from adapters.registry import AdapterRegistry
from indexer.errors import BadInput
from indexer.settings import Paths

if TYPE_CHECKING:
    from ..conftest import WriteAdapter, WriteBase

ASKED = torch.tensor([[1, 5, 9, 2, 7]])


def random_adapter(base: BaseProfile, folder: Path, seed: int, **config: Any) -> Path:
    """Factors for every linear layer of a base, of the rank that the configuration says."""
    from safetensors.numpy import save_file

    generator = np.random.default_rng(seed)
    rank = config.setdefault("r", 4)
    tensors = {}
    for module, (out, inner) in base.modules.items():
        if "proj" in module:
            stem = f"base_model.model.{module}.lora_"
            tensors[f"{stem}A.weight"] = generator.normal(size=(rank, inner)).astype(np.float32)
            tensors[f"{stem}B.weight"] = generator.normal(size=(out, rank)).astype(np.float32)
    names = sorted({module.rsplit(".", 1)[-1] for module in base.modules if "proj" in module})
    config = {"peft_type": "LORA", "task_type": "CAUSAL_LM", "target_modules": names, **config}
    folder.mkdir()
    (folder / "adapter_config.json").write_text(json.dumps({"lora_alpha": 2, **config}), "utf-8")
    save_file(tensors, folder / "adapter_model.safetensors")
    return folder


def part(
    registry: AdapterRegistry, base: BaseProfile, folder: Path, name: str, weight: float = 1.0
) -> Part:
    manifest = registry.add(folder, name, base=base, prompt_format="sentences")
    return Part(manifest, registry.folder(manifest), weight)


def logits(base: BaseProfile, *folders: Path, scale: float = 1.0) -> torch.Tensor:
    """Of a base with the changes of several adapters added to its weights, by PEFT's own merge."""
    causal: Any = AutoModelForCausalLM.from_pretrained(base.folder, dtype=torch.float64)
    for folder in folders:
        lora = PeftModel.from_pretrained(causal, folder, autocast_adapter_dtype=False).double()
        for module in lora.modules():
            if isinstance(getattr(module, "scaling", None), dict):
                module.scaling["default"] *= scale
        causal = lora.merge_and_unload()
    with torch.no_grad():
        found: torch.Tensor = causal(ASKED).logits
    return found


@pytest.fixture
def llama_base(llama: Path) -> BaseProfile:
    return BaseProfile.read(llama)


@pytest.fixture
def registry(paths: Paths) -> AdapterRegistry:
    return AdapterRegistry(paths)


@pytest.fixture
def two(registry: AdapterRegistry, llama_base: BaseProfile, tmp_path: Path) -> tuple[Part, Part]:
    plain = random_adapter(llama_base, tmp_path / "plain", 1)
    other = random_adapter(llama_base, tmp_path / "other", 2, r=2, use_rslora=True)
    return part(registry, llama_base, plain, "plain"), part(registry, llama_base, other, "other")


def merged(
    parts: tuple[Part, ...], base: BaseProfile, out: Path, **settings: Any
) -> tuple[Path, float]:
    out.mkdir()
    record = merge(parts, MergeSettings("both", **settings), base, out, 64)
    return out, record.error


def test_logits_of_a_linear_merge_are_those_of_the_sum(
    two: tuple[Part, Part], llama_base: BaseProfile, tmp_path: Path
) -> None:
    folder, error = merged(two, llama_base, tmp_path / "out")
    assert error == 0
    expected = logits(llama_base, *(one.folder for one in two))
    assert (logits(llama_base, folder) - expected).abs().max() < 1e-5
    assert (logits(llama_base) - expected).abs().max() > 0.1


def test_a_strength_is_the_adapters_scale(
    two: tuple[Part, Part], llama_base: BaseProfile, tmp_path: Path
) -> None:
    weak = Part(two[0].manifest, two[0].folder, 0.7)
    folder, _ = merged((weak,), llama_base, tmp_path / "out")
    expected = logits(llama_base, two[0].folder, scale=0.7)
    assert (logits(llama_base, folder) - expected).abs().max() < 1e-5


def test_a_compressed_merge_says_what_it_lost(
    two: tuple[Part, Part], llama_base: BaseProfile, tmp_path: Path
) -> None:
    exact, _ = merged(two, llama_base, tmp_path / "exact")
    small, error = merged(two, llama_base, tmp_path / "small", rank=3)
    lost = whole = 0.0
    true, kept = Delta.open(exact), Delta.open(small)
    for stem in true.pairs:
        wanted, got = true.factors(stem), kept.factors(stem)
        assert wanted
        assert got
        lost += np.square(wanted.delta() - got.delta()).sum()
        whole += np.square(wanted.delta()).sum()
    assert error == pytest.approx((lost / whole) ** 0.5, rel=1e-4)
    assert 0.05 < error < 0.9


def test_a_merge_is_a_version_with_its_parents(
    two: tuple[Part, Part], llama_base: BaseProfile, registry: AdapterRegistry, tmp_path: Path
) -> None:
    folder, _ = merged(two, llama_base, tmp_path / "out")
    added = registry.add(folder, base=llama_base)
    assert registry.get("both") == added
    assert added.merged
    assert [(one.label, one.digest) for one in added.merged.parents] == [
        (one.manifest.label, one.manifest.digest) for one in two
    ]
    assert added.rank == 6
    assert added.note == "linear: 1 x plain@1 + 1 x other@1"


def test_a_module_that_one_part_leaves_alone_is_changed_by_the_other_only(
    registry: AdapterRegistry, base: BaseProfile, write_adapter: "WriteAdapter", tmp_path: Path
) -> None:
    generator = np.random.default_rng(3)
    stem = "base_model.model.model.layers.{}.mlp.down_proj.lora_{}.weight"
    downs = {
        stem.format(layer, side): generator.normal(size=shape).astype(np.float32)
        for layer in (0, 1)
        for side, shape in (("A", (4, 32)), ("B", (16, 4)))
    }
    queries = part(registry, base, write_adapter(name="q"), "queries")
    down = part(
        registry, base, write_adapter(downs, "d", target_modules=["down_proj"]), "downs", 0.5
    )
    folder, _ = merged((queries, down), base, tmp_path / "out")
    both = Delta.open(folder)
    for one in (queries, down):
        alone = Delta.open(one.folder)
        for name in alone.pairs:
            wanted, got = alone.factors(name), both.factors(name)
            assert wanted
            assert got
            np.testing.assert_allclose(got.delta(), one.weight * wanted.delta(), rtol=1e-5)
    assert registry.add(folder, base=base).target_modules == ("down_proj", "q_proj")


def test_the_same_seed_drops_the_same_entries(
    two: tuple[Part, Part], llama_base: BaseProfile, tmp_path: Path
) -> None:
    made = [
        merged(two, llama_base, tmp_path / name, method="dare", density=0.8, seed=seed)[0]
        for name, seed in (("a", 1), ("b", 1), ("c", 2))
    ]
    same, again, other = ((folder / "adapter_model.safetensors").read_bytes() for folder in made)
    assert same == again
    assert same != other


def factors(seed: int, rank: int = 3) -> Factors:
    generator = np.random.default_rng(seed)
    a, b = generator.normal(size=(rank, 12)), generator.normal(size=(9, rank))
    return Factors(a.astype(np.float32), b.astype(np.float32))


def test_ties_keeps_the_largest_and_averages_those_that_agree() -> None:
    identity = np.eye(3, dtype=np.float32)
    one = Factors(identity, np.array([[9, -2, 1], [0, 4, 0], [3, 0, 0]], np.float32))
    two = Factors(identity, np.array([[3, 5, 0], [0, 2, 0], [-4, 0, 0.5]], np.float32))
    found = ties([(1.0, one), (1.0, two)], density=4 / 9)
    np.testing.assert_array_equal(found, [[6, 5, 0], [0, 3, 0], [-4, 0, 0]])


def test_ties_of_one_part_at_full_density_is_that_part() -> None:
    alone = factors(1)
    np.testing.assert_allclose(ties([(0.5, alone)], 1.0), 0.5 * alone.delta(), rtol=1e-6)


def test_dare_is_right_on_average() -> None:
    alone = factors(1)
    drawn = [dare([(1.0, alone)], 0.5, np.random.default_rng(seed)) for seed in range(800)]
    assert all(np.isin(np.round(one / alone.delta(), 4), (0, 2)).all() for one in drawn[:5])
    assert np.abs(np.mean(drawn, axis=0) - alone.delta()).max() < 0.3 * np.abs(alone.delta()).max()


def test_both_ways_to_a_lower_rank_find_the_nearest() -> None:
    wide = factors(1, rank=8)
    best = np.linalg.svd(wide.delta(), compute_uv=False)[2:]
    for small in (compressed(wide, 2), factored(wide.delta(), 2)):
        lost = np.square(small.delta() - wide.delta()).sum()
        assert lost == pytest.approx(np.square(best).sum(), rel=1e-3)
        assert small.size() == pytest.approx(np.square(small.delta()).sum(), rel=1e-4)


def test_parts_that_do_not_go_together_are_named(
    registry: AdapterRegistry,
    base: BaseProfile,
    write_base: "WriteBase",
    write_adapter: "WriteAdapter",
    tmp_path: Path,
) -> None:
    other = BaseProfile.read(write_base("other", seed=1))
    mine = part(registry, base, write_adapter(), "mine")
    cases: list[tuple[tuple[Part, ...], dict[str, Any], str]] = [
        ((mine, part(registry, other, write_adapter(), "other")), {}, "differ in their base"),
        ((mine, mine), {}, "rank 8, the engine takes 6"),
        ((Part(mine.manifest, mine.folder, 0.0),), {}, r"weight of mine@1 is 0\.0"),
        ((mine,), {"density": 0.0}, "density"),
    ]
    manifest = registry.add(write_adapter(), "form", base=base, prompt_format="passages")
    formed = Part(manifest, registry.folder(manifest))
    cases.append(((mine, formed), {}, "mine@1 and form@1 differ in their prompt format"))
    for parts, settings, said in cases:
        with pytest.raises(BadInput, match=said):
            merge(parts, MergeSettings("both", **settings), base, tmp_path, 6)


@pytest.mark.parametrize("rank", [None, 2])
def test_parts_that_cancel_out_are_refused(
    registry: AdapterRegistry,
    base: BaseProfile,
    write_adapter: "WriteAdapter",
    tmp_path: Path,
    rank: int | None,
) -> None:
    mine = part(registry, base, write_adapter(), "mine")
    back = Part(mine.manifest, mine.folder, -1.0)
    with pytest.raises(BadInput, match="cancel"):
        merged((mine, back), base, tmp_path / "out", rank=rank)
