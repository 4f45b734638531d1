"""Broken adapters, as they are met and as they are made on purpose: each refused with its reason.

vLLM 0.32 answers 200 to many of them, dies of some, and serves nonsense with others.
"""

import contextlib
import json
import os
import struct
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from adapters.base import BaseProfile
from adapters.errors import AdapterRefused
from adapters.importing.converting import convert
from adapters.registry import AdapterRegistry
from adapters.verify import verify_adapter
from indexer.settings import Paths

from .conftest import Tensors, make_tensors

if TYPE_CHECKING:
    from .conftest import WriteAdapter

FIRST = "base_model.model.model.layers.0.self_attn.q_proj.lora_A.weight"


@dataclass(frozen=True)
class Broken:
    """How an adapter is spoilt, and a word of the reason that is given."""

    said: str
    config: dict[str, Any] = field(default_factory=dict)
    tensors: Callable[[], Tensors] = make_tensors
    spoil: Callable[[Path], object] = lambda folder: None


def renamed(old: str, new: str) -> Callable[[], Tensors]:
    return lambda: {key.replace(old, new, 1): value for key, value in make_tensors().items()}


def changed(change: Callable[[str, Any], Any]) -> Callable[[], Tensors]:
    return lambda: {key: change(key, value) for key, value in make_tensors().items()}


def with_extra(key: str) -> Callable[[], Tensors]:
    return lambda: {**make_tensors(), key: np.ones(16, np.float32)}


def zero(side: str) -> Callable[[], Tensors]:
    return changed(lambda key, value: value * (f"lora_{side}" not in key))


def holding(value: float) -> Callable[[], Tensors]:
    return changed(lambda key, tensor: np.full_like(tensor, value) if key == FIRST else tensor)


def weights(content: bytes) -> Callable[[Path], object]:
    return lambda folder: (folder / "adapter_model.safetensors").write_bytes(content)


def header(entries: Any) -> bytes:
    raw = entries if isinstance(entries, bytes) else json.dumps(entries).encode()
    return struct.pack("<Q", len(raw)) + raw


def config(content: str) -> Callable[[Path], object]:
    return lambda folder: (folder / "adapter_config.json").write_text(content, "utf-8")


def cut(folder: Path) -> None:
    path = folder / "adapter_model.safetensors"
    os.truncate(path, path.stat().st_size - 1)


def longer(folder: Path) -> None:
    with (folder / "adapter_model.safetensors").open("ab") as file:
        file.write(b"more")


def pickled(folder: Path) -> None:
    (folder / "adapter_model.safetensors").rename(folder / "adapter_model.bin")


def linked(name: str, to: str) -> Callable[[Path], None]:
    def replace(folder: Path) -> None:
        (folder / name).unlink()
        (folder / name).symlink_to(to)

    return replace


def carded(**changes: Any) -> Callable[[Path], object]:
    """With a card, as training leaves it, that says something else of its base."""
    content = {
        "name": "broken",
        "base": {"name": "base", "digest": "0" * 64},
        "prompt_format": "sentences",
        "trained_with": {},
        "dataset_digest": "",
        **changes,
    }
    return lambda folder: (folder / "adapter.json").write_text(json.dumps(content), "utf-8")


def orthogonal() -> Tensors:
    """Neither factor is zero, but their product is: A writes where B does not read."""
    made = make_tensors()
    for key, value in made.items():
        if "lora_A" in key:
            value[1:] = 0
        else:
            value[:, 0] = 0
    return made


def pipe(name: str) -> Callable[[Path], None]:
    """A pipe that nobody writes: whoever opens it waits for ever."""

    def replace(folder: Path) -> None:
        (folder / name).unlink()
        os.mkfifo(folder / name)

    return replace


OVERLAP = {
    key: {"dtype": "F32", "shape": [4, 16], "data_offsets": [0, 256]}
    for key in (FIRST, FIRST.replace("lora_A", "lora_B"))
}
TWICE = b'{"x":{"dtype":"F32","shape":[4],"data_offsets":[0,16]},"x":' + (
    b'{"dtype":"F32","shape":[2,2],"data_offsets":[0,16]}}'
)
WRAPS = {FIRST: {"dtype": "F32", "shape": [(1 << 63) + 32, 2], "data_offsets": [0, 256]}}
HUGE = {FIRST: {"dtype": "F32", "shape": [1 << 31, 1 << 31], "data_offsets": [0, 256]}}

BROKEN = {
    "wrong prefix": Broken("none the engine would apply", tensors=renamed("base_model.", "")),
    "a vision model's prefix": Broken(
        "no part", tensors=renamed("model.model.layers", "model.language_model.layers")
    ),
    "names of a training run": Broken(
        "none the engine", tensors=renamed("lora_A", "lora_A.default")
    ),
    "unknown module": Broken("no part", tensors=renamed("q_proj", "qkv")),
    "B is zero": Broken("do nothing", tensors=zero("B")),
    "A is zero": Broken("do nothing", tensors=zero("A")),
    "alpha 0": Broken("lora_alpha", {"lora_alpha": 0}),
    "alpha is no number": Broken("lora_alpha", {"lora_alpha": float("nan")}),
    "alpha infinite": Broken("lora_alpha", {"lora_alpha": float("inf")}),
    "alpha a truth": Broken("lora_alpha", {"lora_alpha": True}),
    "alpha beyond reason": Broken("scaled by", {"lora_alpha": 1e30}),
    "alpha a number without end": Broken("lora_alpha", {"lora_alpha": 10**400}),
    "alpha next to nothing": Broken("do nothing", {"lora_alpha": 1e-30}),
    "alpha by pattern no number": Broken(
        "alpha_pattern", {"alpha_pattern": {"q_proj": float("nan")}}
    ),
    "factors that miss each other": Broken("do nothing", tensors=orthogonal),
    "values next to nothing": Broken(
        "do nothing", tensors=changed(lambda key, value: value * np.float32(1e-9))
    ),
    "values beyond half precision": Broken("above 65504", tensors=holding(1e9)),
    "alpha by pattern 0": Broken("alpha_pattern", {"alpha_pattern": {"q_proj": 0}}),
    "layers outside": Broken("has layer 2", tensors=lambda: make_tensors(layers=3)),
    "a shallower base": Broken("no tensors for it", tensors=lambda: make_tensors(layers=1)),
    "a smaller base": Broken("needs (4, 16)", tensors=lambda: make_tensors(hidden=8)),
    "a larger base": Broken("needs (4, 16)", tensors=lambda: make_tensors(hidden=32)),
    "false rank": Broken("needs (2, 16)", {"r": 2}),
    "rank by pattern false": Broken("needs (2, 16)", {"rank_pattern": {"q_proj": 2}}),
    "rank 0": Broken("r: ", {"r": 0}),
    "rank a text": Broken("r: ", {"r": "4"}),
    "rank a number without end": Broken("above the engine's 8", {"r": 10**30}),
    "rank negative": Broken("r: ", {"r": -4}),
    "rank above the engine's": Broken("above the engine's 8", {"r": 16}),
    "NaN": Broken("not finite", tensors=holding(np.nan)),
    "infinity": Broken("not finite", tensors=holding(np.inf)),
    "DoRA": Broken("use_dora", {"use_dora": True}),
    "DoRA's vectors": Broken(
        "none the engine", tensors=with_extra(FIRST.replace("lora_A.weight", "lora_magnitude"))
    ),
    "bias": Broken("bias", {"bias": "lora_only"}),
    "a bias in the file": Broken(
        "none the engine", tensors=with_extra("base_model.model.model.norm.bias")
    ),
    "PiSSA": Broken("init_lora_weights", {"init_lora_weights": "pissa"}),
    "saved modules": Broken("modules_to_save", {"modules_to_save": ["lm_head"]}),
    "replicated layers": Broken("layer_replication", {"layer_replication": [[0, 2]]}),
    "no LoRA": Broken("peft_type", {"peft_type": "IA3"}),
    "a classifier": Broken("task_type", {"task_type": "SEQ_CLS"}),
    "no targets": Broken("target_modules", {"target_modules": None}),
    "targets a number": Broken("target_modules", {"target_modules": 3}),
    "targets of another adapter": Broken("names none", {"target_modules": ["k_proj"]}),
    "a pattern without end": Broken("names none", {"target_modules": "(a+)+$"}),
    "A without its end": Broken("none the engine", tensors=renamed("lora_A.weight", "lora_A")),
    "two A for one module": Broken(
        "has two lora_A",
        tensors=lambda: {
            **make_tensors(),
            FIRST.replace("lora_A.weight", "lora_embedding_A"): np.ones((4, 16), np.float32),
        },
    ),
    "half an embedding": Broken(
        "one is an embedding's", tensors=renamed("lora_A.weight", "lora_embedding_A")
    ),
    "KaSA": Broken("kasa_config", {"kasa_config": {"beta": 1}}),
    "an activated LoRA": Broken("alora_invocation_tokens", {"alora_invocation_tokens": [1, 2]}),
    "a quantised LoRA": Broken("use_qalora", {"use_qalora": True}),
    "expert parameters": Broken("target_parameters", {"target_parameters": ["mlp.experts.w"]}),
    "tokens of its own": Broken("trainable_token_indices", {"trainable_token_indices": [3]}),
    "another base's card": Broken("another base", spoil=carded()),
    "a card of another form": Broken("prompt_format", spoil=carded(prompt_format="verse")),
    "a card of megabytes": Broken("megabyte", spoil=carded(note="x" * 1_000_000)),
    "one B missing": Broken(
        "has no lora_B",
        tensors=lambda: {
            k: v for k, v in make_tensors().items() if "1.self_attn.q_proj.lora_B" not in k
        },
    ),
    "integers": Broken("of type I8", tensors=changed(lambda key, value: value.astype(np.int8))),
    "pickle": Broken("pickled weights are never opened", spoil=pickled),
    "cut short": Broken("not a safetensors file", spoil=cut),
    "bytes after the end": Broken("not a safetensors file", spoil=longer),
    "tensors that overlap": Broken(
        "not a safetensors file", spoil=weights(header(OVERLAP) + bytes(256))
    ),
    "a header longer than the file": Broken(
        "not a safetensors file", spoil=weights(struct.pack("<Q", 1 << 62) + b"{}")
    ),
    "a header nested without end": Broken(
        "not a safetensors file", spoil=weights(header(b"[" * 10_000_000))
    ),
    "a tensor larger than any memory": Broken(
        "not a safetensors file", spoil=weights(header(HUGE) + bytes(256))
    ),
    "a tensor whose size wraps around": Broken(
        "not a safetensors file", spoil=weights(header(WRAPS) + bytes(256))
    ),
    "a header of a gigabyte": Broken(
        "a header of 1073741824 bytes", spoil=weights(struct.pack("<Q", 1 << 30) + b"{}")
    ),
    "a tensor named twice": Broken(
        "x stands there twice", spoil=weights(header(TWICE) + bytes(16))
    ),
    "weights that are a link to nothing": Broken(
        "There is no file", spoil=linked("adapter_model.safetensors", "nowhere")
    ),
    "weights that are another file": Broken(
        "not a safetensors file", spoil=linked("adapter_model.safetensors", "adapter_config.json")
    ),
    "weights that are a folder": Broken(
        "There is no file", spoil=linked("adapter_model.safetensors", "..")
    ),
    "a pipe for weights": Broken("There is no file", spoil=pipe("adapter_model.safetensors")),
    "a pipe for a configuration": Broken("There is no", spoil=pipe("adapter_config.json")),
    "a configuration without end": Broken("JSON", spoil=config("[" * 500_000)),
    "a configuration of megabytes": Broken("megabyte", spoil=config(" " * 2_000_000 + "{}")),
    "a configuration that is a link to nothing": Broken(
        "There is no", spoil=linked("adapter_config.json", "nowhere")
    ),
    "a configuration that is a link to itself": Broken(
        "There is no", spoil=linked("adapter_config.json", "adapter_config.json")
    ),
    "a configuration that never ends": Broken(
        "There is no", spoil=linked("adapter_config.json", "/dev/zero")
    ),
    "a configuration that says r twice": Broken(
        "r stands there twice",
        spoil=config('{"r": 4, "lora_alpha": 8, "target_modules": ["q_proj"], "r": 4}'),
    ),
    "a list for a configuration": Broken("the file", spoil=config("[]")),
}


@pytest.mark.parametrize("name", BROKEN)
def test_a_broken_adapter_is_refused_with_its_reason_and_nothing_is_stored(
    name: str, paths: Paths, base: BaseProfile, write_adapter: "WriteAdapter"
) -> None:
    broken = BROKEN[name]
    folder = write_adapter(broken.tensors(), **broken.config)
    broken.spoil(folder)
    registry = AdapterRegistry(paths)
    with pytest.raises(AdapterRefused) as caught:
        registry.add(folder, "broken", base=base, prompt_format="sentences", max_rank=8)
    assert broken.said in str(caught.value)
    assert caught.value.remedy
    assert registry.list() == []
    assert not [path for path in paths.adapters.glob("*") if path.is_dir()]


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3)
    ),
    max_leaves=6,
)
FIELDS = st.sampled_from([
    "r", "lora_alpha", "target_modules", "rank_pattern", "alpha_pattern", "use_rslora", "bias",
    "exclude_modules", "layers_to_transform", "init_lora_weights", "modules_to_save", "peft_type",
])  # fmt: skip


@settings(max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.dictionaries(FIELDS, JSON, max_size=4))
def test_any_configuration_is_taken_or_refused_in_words(
    base: BaseProfile, write_adapter: "WriteAdapter", content: dict[str, Any]
) -> None:
    folder = write_adapter(**content)
    with contextlib.suppress(AdapterRefused):  # any other error fails
        verify_adapter(folder, base, 8)


@settings(max_examples=100, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.lists(
        st.sampled_from(
            ["_orig_mod.", "module.", ".default", ".weight", "base_model.model.", "lora_A", ""]
        ),
        min_size=4,
        max_size=4,
    )
)
def test_any_names_are_mended_or_refused_in_words(
    base: BaseProfile, write_adapter: "WriteAdapter", tmp_path: Path, parts: list[str]
) -> None:
    names = zip(make_tensors().items(), parts, strict=True)
    folder = write_adapter({f"{part}{key}{part}": value for (key, value), part in names})
    out = tmp_path / "converted"
    out.mkdir(exist_ok=True)
    with contextlib.suppress(AdapterRefused):
        done = convert(folder, base, out)
        verify_adapter(out if done else folder, base, 8)
