"""BaseProfile: what is read from a base's files, and what is refused."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from adapters.base import BaseProfile
from adapters.errors import BaseRefused

if TYPE_CHECKING:
    from .conftest import WriteBase


def edit_config(folder: Path, **changes: Any) -> None:
    path = folder / "config.json"
    config = json.loads(path.read_text(encoding="utf-8")) | changes
    path.write_text(json.dumps(config), encoding="utf-8")


def test_reads_sizes_and_module_shapes(base: BaseProfile) -> None:
    assert (base.name, base.layers, base.hidden_size, base.context) == ("base", 2, 16, 128)
    assert base.modules["model.layers.1.mlp.down_proj"] == (16, 32)
    assert base.modules["lm_head"] == (40, 16)


def test_the_same_base_in_another_folder_has_the_same_digest(write_base: "WriteBase") -> None:
    here, there = (BaseProfile.read(write_base(name)) for name in ("here", "there"))
    assert here.digest == there.digest


def test_a_base_trained_further_has_another_digest(write_base: "WriteBase") -> None:
    before, after = (
        BaseProfile.read(write_base(name, seed=seed)) for seed, name in enumerate(("a", "b"))
    )
    assert before.digest != after.digest


@pytest.mark.parametrize("file", ["tokenizer.json", "chat_template.jinja"])
def test_tokenizer_and_template_are_part_of_the_digest(write_base: "WriteBase", file: str) -> None:
    folder = write_base()
    before = BaseProfile.read(folder).digest
    (folder / file).write_text("{ }", encoding="utf-8")
    assert BaseProfile.read(folder).digest != before


def test_library_versions_are_not_part_of_the_digest(write_base: "WriteBase") -> None:
    folder = write_base()
    before = BaseProfile.read(folder).digest
    edit_config(folder, transformers_version="9.9", _name_or_path="/elsewhere")
    assert BaseProfile.read(folder).digest == before


@pytest.mark.parametrize(
    ("file", "words"),
    [
        ("config.json", "config.json"),
        ("tokenizer.json", "tokenizer"),
        ("chat_template.jinja", "no chat template"),
        ("model.safetensors", "safetensors"),
    ],
)
def test_a_missing_part_is_named(write_base: "WriteBase", file: str, words: str) -> None:
    folder = write_base()
    (folder / file).unlink()
    with pytest.raises(BaseRefused, match=words) as caught:
        BaseProfile.read(folder)
    assert str(folder) in caught.value.message
    assert caught.value.remedy


def test_a_template_in_the_tokenizers_config_will_do(write_base: "WriteBase") -> None:
    folder = write_base()
    (folder / "chat_template.jinja").unlink()
    config = json.dumps({"chat_template": "{{ messages }}"})
    (folder / "tokenizer_config.json").write_text(config, encoding="utf-8")
    assert BaseProfile.read(folder).layers == 2


def test_a_path_that_does_not_exist_is_named() -> None:
    with pytest.raises(BaseRefused, match="no/such/base is not a folder"):
        BaseProfile.read("no/such/base")


def test_a_cut_short_weight_file_is_refused(write_base: "WriteBase") -> None:
    folder = write_base()
    weights = folder / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-100])
    with pytest.raises(BaseRefused, match="not fully covered"):
        BaseProfile.read(folder)


def test_config_that_is_not_json_is_refused(write_base: "WriteBase") -> None:
    folder = write_base()
    (folder / "config.json").write_text("{", encoding="utf-8")
    with pytest.raises(BaseRefused, match="not valid JSON"):
        BaseProfile.read(folder)


def test_a_packed_base_gets_its_shapes_from_the_config(write_base: "WriteBase") -> None:
    folder = write_base()
    edit_config(
        folder,
        quantization_config={"bits": 4},
        intermediate_size=48,
        num_attention_heads=4,
        num_key_value_heads=2,
    )
    modules = BaseProfile.read(folder).modules
    assert modules["model.layers.1.self_attn.k_proj"] == (8, 16)
    assert modules["model.layers.0.mlp.down_proj"] == (16, 48)
