"""verify_adapter(): what an engine would serve wrongly or not at all is refused, in words."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from adapters.base import BaseProfile
from adapters.errors import AdapterRefused
from adapters.verify import verify_adapter

if TYPE_CHECKING:
    from .conftest import Tensors, WriteAdapter, WriteBase

MAX_RANK = 8


def refusal(folder: Path, base: BaseProfile) -> AdapterRefused:
    with pytest.raises(AdapterRefused) as caught:
        verify_adapter(folder, base, MAX_RANK)
    assert caught.value.remedy
    return caught.value


def test_a_good_adapter_passes_with_its_facts(
    base: BaseProfile, write_adapter: "WriteAdapter"
) -> None:
    facts = verify_adapter(write_adapter(), base, MAX_RANK)
    assert (facts.rank, facts.alpha, facts.target_modules) == (4, 8.0, ("q_proj",))


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("use_dora", True),
        ("lora_bias", True),
        ("bias", "all"),
        ("modules_to_save", ["lm_head"]),
        ("layer_replication", [[0, 1]]),
        ("trainable_token_indices", [3]),
        ("init_lora_weights", "pissa"),
        ("peft_type", "IA3"),
        ("r", 0),
        ("r", "4"),
        ("r", 3),
        ("lora_alpha", 0),
        ("lora_alpha", None),
        ("target_modules", None),
        ("target_modules", ["q_proj", "down_proj"]),
        ("rank_pattern", {"q_proj": "x"}),
        ("rank_pattern", {"q_proj": 2}),
    ],
)
def test_a_field_that_would_be_served_wrongly_is_refused(
    base: BaseProfile, write_adapter: "WriteAdapter", field: str, value: Any
) -> None:
    folder = write_adapter(**{field: value})
    message = refusal(folder, base).message
    assert field in message or "rank" in message or "target module" in message


def test_a_rank_above_the_engines_names_both(
    base: BaseProfile, write_adapter: "WriteAdapter", tensors: "Any"
) -> None:
    error = refusal(write_adapter(tensors(rank=16), r=16), base)
    assert "16" in error.message
    assert "8" in error.message


def test_a_rank_pattern_that_the_tensors_follow_passes(
    base: BaseProfile, write_adapter: "WriteAdapter", tensors: "Any"
) -> None:
    folder = write_adapter(tensors(rank=8), r=4, rank_pattern={"q_proj": 8})
    assert verify_adapter(folder, base, MAX_RANK).rank == 4


def without(tensors: "Tensors", ending: str) -> "Tensors":
    return {key: value for key, value in tensors.items() if not key.endswith(ending)}


def test_a_missing_factor_is_named(
    base: BaseProfile, write_adapter: "WriteAdapter", tensors: "Any"
) -> None:
    folder = write_adapter(without(tensors(), "layers.1.self_attn.q_proj.lora_B.weight"))
    assert "layers.1.self_attn.q_proj has no lora_B" in refusal(folder, base).message


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("base_model.model.", "model."),
        ("base_model.model.model.", "base_model.model.language_model."),
        ("lora_A.weight", "lora_A.default.weight"),
        ("q_proj", "x_proj"),
    ],
)
def test_a_key_the_engine_would_skip_is_named(
    base: BaseProfile, write_adapter: "WriteAdapter", tensors: "Any", old: str, new: str
) -> None:
    renamed = {key.replace(old, new, 1): value for key, value in tensors().items()}
    error = refusal(write_adapter(renamed), base)
    assert new.removeprefix("base_model.model.").split(".")[0] in error.message


def test_an_adapter_from_a_deeper_base_is_refused(
    base: BaseProfile, write_adapter: "WriteAdapter", tensors: "Any"
) -> None:
    assert "has layer 2" in refusal(write_adapter(tensors(layers=3)), base).message


def test_an_adapter_from_a_shallower_base_is_refused(
    write_base: "WriteBase", write_adapter: "WriteAdapter"
) -> None:
    deeper = BaseProfile.read(write_base("deeper", layers=3))
    assert "layers.2" in refusal(write_adapter(), deeper).message


def test_chosen_layers_are_not_taken_for_a_shallower_base(
    base: BaseProfile, write_adapter: "WriteAdapter", tensors: "Any"
) -> None:
    folder = write_adapter(tensors(layers=1), layers_to_transform=[0])
    assert verify_adapter(folder, base, MAX_RANK)


@pytest.mark.parametrize("hidden", [8, 32])
def test_an_adapter_from_a_narrower_or_wider_base_is_refused(
    base: BaseProfile, write_adapter: "WriteAdapter", tensors: "Any", hidden: int
) -> None:
    assert f"(4, {hidden})" in refusal(write_adapter(tensors(hidden=hidden)), base).message


def test_a_false_rank_is_refused(
    base: BaseProfile, write_adapter: "WriteAdapter", tensors: "Any"
) -> None:
    assert "needs (4, 16)" in refusal(write_adapter(tensors(rank=8), r=4), base).message


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_values_that_are_not_finite_are_refused(
    base: BaseProfile, write_adapter: "WriteAdapter", tensors: "Any", bad: float
) -> None:
    made = tensors()
    made[next(iter(made))][0, 0] = bad
    assert "not finite" in refusal(write_adapter(made), base).message


def test_an_untrained_adapter_is_refused(
    base: BaseProfile, write_adapter: "WriteAdapter", tensors: "Any"
) -> None:
    made = {key: value * ("lora_A" in key) for key, value in tensors().items()}
    assert "lora_B is zero" in refusal(write_adapter(made), base).message


def test_another_hub_base_is_refused_by_name(
    write_base: "WriteBase", write_adapter: "WriteAdapter"
) -> None:
    profile = BaseProfile.read(write_base())
    served = type(profile)(
        "Qwen/Qwen2.5-7B-Instruct",
        profile.folder,
        profile.digest,
        profile.layers,
        profile.hidden_size,
        profile.context,
        profile.modules,
    )
    folder = write_adapter(base_model_name_or_path="mistralai/Mistral-7B-Instruct-v0.3")
    assert "trained on mistralai/Mistral-7B" in refusal(folder, served).message


def test_pickled_weights_are_never_opened(base: BaseProfile, write_adapter: "WriteAdapter") -> None:
    folder = write_adapter()
    (folder / "adapter_model.safetensors").rename(folder / "adapter_model.bin")
    assert "pickled" in refusal(folder, base).remedy


@pytest.mark.parametrize("content", [b"", b"not json", b"\xff" * 40, b"\x02\0\0\0\0\0\0\0[]"])
def test_a_file_that_is_not_safetensors_is_refused(
    base: BaseProfile, write_adapter: "WriteAdapter", content: bytes
) -> None:
    folder = write_adapter()
    (folder / "adapter_model.safetensors").write_bytes(content)
    assert "safetensors" in refusal(folder, base).message


@pytest.mark.parametrize("content", ["", "[]", "{"])
def test_a_config_that_is_not_an_object_is_refused(
    base: BaseProfile, write_adapter: "WriteAdapter", content: str
) -> None:
    folder = write_adapter()
    (folder / "adapter_config.json").write_text(content, encoding="utf-8")
    assert "adapter_config.json" in refusal(folder, base).message


def test_an_empty_folder_is_refused(base: BaseProfile, tmp_path: Path) -> None:
    assert "adapter_config.json" in refusal(tmp_path, base).message


def test_an_adapter_without_tensors_is_refused(
    base: BaseProfile, write_adapter: "WriteAdapter"
) -> None:
    assert "holds no tensors" in refusal(write_adapter({}), base).message


def test_embeddings_are_checked_with_their_own_shapes(
    base: BaseProfile, write_adapter: "WriteAdapter", tensors: "Any"
) -> None:
    made = tensors()
    stem = "base_model.model.model.embed_tokens.lora_embedding"
    made[f"{stem}_A"] = np.ones((4, 40), np.float32)
    made[f"{stem}_B"] = np.ones((16, 4), np.float32)
    folder = write_adapter(made, target_modules=["q_proj", "embed_tokens"])
    assert verify_adapter(folder, base, MAX_RANK).target_modules == ("embed_tokens", "q_proj")
