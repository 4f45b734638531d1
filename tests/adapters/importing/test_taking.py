"""Adapters from folders, the hub and URLs: converted where that is exact, or refused."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import fsspec
import huggingface_hub.constants
import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from adapters.base import BaseProfile
from adapters.errors import AdapterRefused
from adapters.importing.sources import fetched
from adapters.importing.taking import Incoming, take
from adapters.manifest import AdapterManifest
from adapters.registry import AdapterRegistry
from indexer.errors import BadInput
from indexer.settings import Paths
from tests.adapters.conftest import CHAT_TEMPLATE, Tensors, make_tensors

if TYPE_CHECKING:
    from tests.adapters.conftest import WriteAdapter

FIRST = "base_model.model.model.layers.0.self_attn.q_proj.lora_A.weight"
Take = Callable[..., AdapterManifest]


@pytest.fixture
def take_in(paths: Paths, base: BaseProfile) -> Take:
    def taken(source: object, **more: Any) -> AdapterManifest:
        incoming = Incoming(str(source), "style", "sentences", max_rank=8, **more)
        return take(AdapterRegistry(paths), base, incoming)

    return taken


def stored(paths: Paths, manifest: AdapterManifest) -> Tensors:
    folder = AdapterRegistry(paths).folder(manifest)
    found: Tensors = load_file(folder / "adapter_model.safetensors")
    return found


def put(folder: Path, url: str) -> None:
    system, path = fsspec.core.url_to_fs(url)
    system.makedirs(path, exist_ok=True)
    for file in folder.iterdir():
        system.put_file(str(file), f"{path}/{file.name}")


def test_a_folder_comes_in_as_it_is_and_says_where_it_came_from(
    take_in: Take, write_adapter: "WriteAdapter"
) -> None:
    added = take_in(write_adapter(name="their-lora"))
    assert added.imported
    assert (added.imported.source, added.imported.converted) == ("their-lora", ())


def test_an_adapter_comes_from_any_url(
    take_in: Take, write_adapter: "WriteAdapter", paths: Paths
) -> None:
    put(write_adapter(), "memory://bucket/loras/tone")
    added = take_in("memory://bucket/loras/tone")
    assert added.imported
    assert added.imported.source == "memory://bucket/loras/tone"
    assert all((stored(paths, added)[key] == value).all() for key, value in make_tensors().items())


def test_keys_in_a_url_are_not_kept(take_in: Take, write_adapter: "WriteAdapter") -> None:
    put(write_adapter(), "memory://me:secret@bucket/x")
    added = take_in("memory://me:secret@bucket/x")
    assert added.imported
    assert added.imported.source == "memory://bucket/x"


def test_an_adapter_comes_from_the_hubs_cache_without_a_network(
    take_in: Take,
    write_adapter: "WriteAdapter",
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    cache = tmp_path / "hub" / "models--owner--their-lora"
    commit = "a" * 40
    (cache / "refs").mkdir(parents=True)
    (cache / "refs" / "main").write_text(commit, encoding="utf-8")
    (cache / "snapshots").mkdir()
    write_adapter().rename(cache / "snapshots" / commit)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    assert take_in("owner/their-lora").label == "style@1"
    assert take_in("owner/their-lora@main").label == "style@1"
    with pytest.raises(BadInput, match="cannot be downloaded"):
        take_in("owner/another")


@pytest.mark.parametrize(
    ("source", "said"),
    [
        ("nowhere", "no folder, hub id or URL"),
        ("s3://bucket/lora", "pip install s3fs"),
        ("smoke://signal/lora", "a URL that fsspec knows"),
        ("memory://bucket/empty/place", "cannot be listed"),
    ],
)
def test_a_source_that_is_none_says_what_to_give(take_in: Take, source: str, said: str) -> None:
    with pytest.raises(BadInput) as caught:
        take_in(source)
    assert said in str(caught.value)


def test_no_more_is_fetched_than_is_allowed(take_in: Take, write_adapter: "WriteAdapter") -> None:
    put(write_adapter(), "memory://bucket/large")
    with pytest.raises(BadInput, match="1000 may be"):
        take_in("memory://bucket/large", most_bytes=1000)


def test_only_what_says_what_an_adapter_is_is_fetched(write_adapter: "WriteAdapter") -> None:
    folder = write_adapter()
    (folder / "optimizer.pt").write_bytes(b"pickle")
    put(folder, "memory://bucket/checkpoint")
    with fetched("memory://bucket/checkpoint") as there:
        assert sorted(file.name for file in there.iterdir()) == [
            "adapter_config.json",
            "adapter_model.safetensors",
        ]


def renamed(change: Callable[[str], str]) -> Tensors:
    return {change(key): value for key, value in make_tensors().items()}


@pytest.mark.parametrize(
    "change",
    [
        lambda key: key.replace("model.layers", "_orig_mod.model.layers"),
        lambda key: key.replace("layers.", "layers._fsdp_wrapped_module."),
        lambda key: key.replace(".self_attn", "._checkpoint_wrapped_module.self_attn"),
        lambda key: key.replace(".weight", ".default.weight"),
        lambda key: f"module.{key}",
        lambda key: key.removeprefix("base_model.model."),
    ],
    ids=["compiled", "fsdp", "checkpointed", "adapter name", "parallel", "no prefix"],
)
def test_names_that_other_tools_leave_are_mended_and_not_a_value_changes(
    take_in: Take,
    write_adapter: "WriteAdapter",
    paths: Paths,
    change: Callable[[str], str],
) -> None:
    added = take_in(write_adapter(renamed(change)))
    assert added.imported
    assert added.imported.converted[0].startswith("renamed 4 tensors")
    found = stored(paths, added)
    assert sorted(found) == sorted(make_tensors())
    assert all((found[key] == value).all() for key, value in make_tensors().items())


def test_two_names_that_would_be_one_are_refused(
    take_in: Take, write_adapter: "WriteAdapter"
) -> None:
    both = {**make_tensors(), **renamed(lambda key: key.replace(".weight", ".default.weight"))}
    with pytest.raises(AdapterRefused, match="Two tensors would be"):
        take_in(write_adapter(both))


def with_embedding(base: BaseProfile, change: float, name: str) -> Tensors:
    theirs = load_file(base.folder / "model.safetensors")["model.embed_tokens.weight"]
    return {**make_tensors(), name: (theirs + np.float32(change)).astype(np.float32)}


@pytest.mark.parametrize(
    "name",
    [
        "base_model.model.model.embed_tokens.weight",
        "base_model.model.lm_head.weight",
        "base_model.model.model.embed_tokens.modules_to_save.default.weight",
    ],
)
def test_an_embedding_saved_along_is_dropped_if_it_is_the_bases_and_else_refused(
    take_in: Take, write_adapter: "WriteAdapter", base: BaseProfile, paths: Paths, name: str
) -> None:
    same = write_adapter(with_embedding(base, 0, name), "same", modules_to_save=["embed_tokens"])
    added = take_in(same)
    assert added.imported
    assert "the same as the base's" in added.imported.converted[0]
    assert sorted(stored(paths, added)) == sorted(make_tensors())
    other = write_adapter(with_embedding(base, 1e-3, name), "other")
    with pytest.raises(AdapterRefused, match="which is not the base's"):
        take_in(other)


def test_bfloat16_is_renamed_bit_by_bit(
    take_in: Take, write_adapter: "WriteAdapter", paths: Paths
) -> None:
    import torch
    from safetensors.torch import load_file as load
    from safetensors.torch import save_file as save

    folder = write_adapter()
    halves = {
        key.replace(".weight", ".default.weight"): torch.from_numpy(value).bfloat16()
        for key, value in make_tensors().items()
    }
    save(halves, folder / "adapter_model.safetensors")
    added = take_in(folder)
    found = load(AdapterRegistry(paths).folder(added) / "adapter_model.safetensors")
    for key, value in halves.items():
        assert torch.equal(found[key.replace(".default", "")], value)


def test_a_rank_written_as_a_float_is_made_whole(
    take_in: Take, write_adapter: "WriteAdapter"
) -> None:
    assert take_in(write_adapter(r=4.0)).rank == 4
    with pytest.raises(AdapterRefused, match="r: "):
        take_in(write_adapter(name="half", r=4.5))


def test_a_copy_of_the_base_under_another_name_is_taken_when_somebody_says_so(
    take_in: Take, write_adapter: "WriteAdapter", paths: Paths, base: BaseProfile
) -> None:
    theirs = write_adapter(base_model_name_or_path="unsloth/base-bnb-4bit")
    added = take_in(theirs, same_base=True)
    assert added.imported
    assert added.imported.converted == ("trained on unsloth/base-bnb-4bit, said to be this base",)
    config = json.loads((AdapterRegistry(paths).folder(added) / "adapter_config.json").read_bytes())
    assert config["base_model_name_or_path"] == base.name


def test_targets_as_a_pattern_still_tell_a_shallower_base(
    take_in: Take, write_adapter: "WriteAdapter"
) -> None:
    pattern = r"(?:.*?(?:language|text)?.*?(?:self_attn|attention).*?(?:q_proj))"
    assert take_in(write_adapter(target_modules=pattern)).label == "style@1"
    shallow = write_adapter(make_tensors(layers=1), "shallow", target_modules=pattern)
    with pytest.raises(AdapterRefused, match="no tensors for it"):
        take_in(shallow)


@pytest.mark.parametrize(
    ("config", "said"),
    [
        ({"use_dora": True}, "Train without use_dora"),
        ({"init_lora_weights": "pissa"}, "path_initial_model_for_weight_conversion"),
        ({"modules_to_save": ["lm_head"]}, "Train without modules_to_save"),
        ({"task_type": "SEQ_CLS"}, "Train it to write"),
    ],
)
def test_what_the_engine_cannot_serve_says_what_to_change(
    take_in: Take, write_adapter: "WriteAdapter", config: dict[str, Any], said: str
) -> None:
    with pytest.raises(AdapterRefused) as caught:
        take_in(write_adapter(**config))
    assert said in caught.value.remedy


def test_pickled_weights_and_folders_of_adapters_say_what_to_do(
    take_in: Take, write_adapter: "WriteAdapter", tmp_path: Path
) -> None:
    folder = write_adapter()
    (folder / "adapter_model.safetensors").rename(folder / "adapter_model.bin")
    with pytest.raises(AdapterRefused, match="pickled weights are never opened"):
        take_in(folder)
    with pytest.raises(AdapterRefused, match=r"Name one of: .*adapter"):
        take_in(tmp_path)


@pytest.fixture
def on_llama(paths: Paths, llama: Path, tmp_path: Path) -> Callable[[Path], AdapterManifest]:
    base = BaseProfile.read(llama)

    def taken(folder: Path) -> AdapterManifest:
        incoming = Incoming(str(folder), "style", "sentences")
        return take(AdapterRegistry(paths), base, incoming)

    return taken


def llama_adapter(folder: Path) -> Path:
    folder.mkdir()
    config = {"peft_type": "LORA", "r": 4, "lora_alpha": 8, "target_modules": ["q_proj"]}
    (folder / "adapter_config.json").write_text(json.dumps(config), encoding="utf-8")
    save_file(make_tensors(hidden=32), folder / "adapter_model.safetensors")
    return folder


def test_a_template_that_writes_other_words_is_refused_and_one_that_marks_answers_is_not(
    on_llama: Callable[[Path], AdapterManifest], tmp_path: Path
) -> None:
    folder = llama_adapter(tmp_path / "theirs")
    template = folder / "chat_template.jinja"
    marks = CHAT_TEMPLATE.replace("m['content']", "(m['content'] if true else '')")
    template.write_text(marks, encoding="utf-8")
    assert on_llama(folder).label == "style@1"
    template.write_text(CHAT_TEMPLATE.replace("<|assistant|>", "<|user|>"), encoding="utf-8")
    with pytest.raises(AdapterRefused, match=r"chat template beside the adapter writes '<s>"):
        on_llama(folder)


@pytest.mark.parametrize(
    ("token", "number", "said"),
    [("<|mine|>", 900, "tokens that the base lacks"), ("</s>", 900, "another number")],
)
def test_tokens_of_its_own_are_refused(
    on_llama: Callable[[Path], AdapterManifest],
    tmp_path: Path,
    token: str,
    number: int,
    said: str,
) -> None:
    folder = llama_adapter(tmp_path / "theirs")
    added = {"added_tokens": [{"id": number, "content": token}]}
    (folder / "tokenizer.json").write_text(json.dumps(added), encoding="utf-8")
    with pytest.raises(AdapterRefused, match=said):
        on_llama(folder)
