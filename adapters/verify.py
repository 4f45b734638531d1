"""Whether an adapter would really be served: static checks on its files, without torch.

vLLM answers 200 to adapters that it then applies wrongly or not at all (false rank, wrong keys,
layers or shapes of another base, B = 0); what it would refuse is refused here first, in words.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np

from adapters.base import BaseProfile
from adapters.errors import AdapterRefused
from adapters.lora_config import LoraConfig
from adapters.manifest import CONFIG_FILE, WEIGHTS_FILE
from adapters.tensors import Floats, TensorInfo, read_floats, read_header

KEY: Final = re.compile(
    r"base_model\.model\.(?P<module>.+)\.lora_(?P<embedding>embedding_)?(?P<side>[AB])"
    r"(?(embedding)|\.weight)"
)
_LAYER = re.compile(r"\.(?:layers|h|blocks)\.(\d+)\.")
_HUB_ID = re.compile(r"[\w-][\w.-]*/[\w.-]+")
_STARTS: Final = (True, False, None, "gaussian", "eva", "orthogonal", "mica", "lora_ga")
_UNSERVED: Final = (
    "use_dora",
    "lora_bias",
    "layer_replication",
    "use_qalora",
    "use_bdlora",
    "alora_invocation_tokens",
    "trainable_token_indices",
    "modules_to_save",
    "target_parameters",
    "corda_config",
    "arrow_config",
    "kasa_config",
    "monteclora_config",
)
_MOST_SCALE: Final = 1_000
_MOST_VALUE: Final = 65_504  # of half precision, which an engine may compute in
_LEAST_CHANGE: Final = 1e-6  # a norm; in bfloat16 less is lost in the weights of any base


@dataclass(frozen=True, slots=True)
class AdapterFacts:
    """What the checks established, for the manifest."""

    rank: int
    alpha: float
    target_modules: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class _Pair:
    """The two factors of one module: A (rank, in) and B (out, rank)."""

    a: TensorInfo
    b: TensorInfo
    embedding: bool


def verify_adapter(folder: Path, base: BaseProfile, max_rank: int) -> AdapterFacts:
    """Check an adapter against its base; AdapterRefused names the field or tensor and a remedy."""
    config = LoraConfig.read(folder)
    _check_features(config)
    _check_scale(config, max_rank)
    _check_base_name(config, base)
    pairs = _read_pairs(folder)
    for module, pair in pairs.items():
        _check_module(module, pair, config, base)
    _check_coverage(pairs, config, base)
    _check_values(folder / WEIGHTS_FILE, pairs, config)
    targets = sorted({module.rsplit(".", 1)[-1] for module in pairs})
    return AdapterFacts(config.r, float(config.lora_alpha), tuple(targets))


def _check_features(config: LoraConfig) -> None:
    if config.peft_type != "LORA":
        raise AdapterRefused(f"peft_type is {config.peft_type!r}", "Train a LoRA")
    if config.task_type not in (None, "CAUSAL_LM"):
        raise AdapterRefused(f"task_type is {config.task_type!r}", "Train it to write: CAUSAL_LM")
    others = config.model_extra or {}
    for field in _UNSERVED:
        if others.get(field):
            raise AdapterRefused(
                f"The engine does not serve adapters with {field} = {others[field]!r:.80}",
                f"Train without {field}",
            )
    if config.bias != "none":
        raise AdapterRefused(f"bias is {config.bias!r}", "Train with bias = 'none'")
    if config.init_lora_weights not in _STARTS:
        raise AdapterRefused(
            f"init_lora_weights is {config.init_lora_weights!r:.80}, which changes the base",
            "Save it with path_initial_model_for_weight_conversion, which makes a LoRA of it",
        )


def _check_scale(config: LoraConfig, max_rank: int) -> None:
    if config.highest_rank() > max_rank:
        raise AdapterRefused(
            f"The adapter's rank {config.highest_rank()} is above the engine's {max_rank}",
            f"Raise the engine's highest rank to {config.highest_rank()},"
            f" or train with r = {max_rank}",
        )


def _check_base_name(config: LoraConfig, base: BaseProfile) -> None:
    """Hub ids that differ tell another base; a local path tells nothing."""
    named = config.base_model_name_or_path or ""
    both_are_ids = _HUB_ID.fullmatch(named) and _HUB_ID.fullmatch(base.name)
    if both_are_ids and named.casefold() != base.name.casefold():
        raise AdapterRefused(
            f"The adapter was trained on {named}, this base is {base.name}",
            f"Serve {named}; if both are the same, correct base_model_name_or_path",
        )


def _read_pairs(folder: Path) -> dict[str, _Pair]:
    path = folder / WEIGHTS_FILE
    if not path.is_file():
        raise AdapterRefused(
            f"There is no file {path}", "Save it as safetensors; pickled weights are never opened"
        )
    try:
        header = read_header(path)
    except ValueError as error:
        raise AdapterRefused(str(error), "Save the adapter again") from error
    halves: dict[str, dict[str, tuple[TensorInfo, bool]]] = {}
    for key, info in header.items():
        match = KEY.fullmatch(key)
        if match is None:
            raise AdapterRefused(
                f"Tensor {key[:200]} is none the engine would apply",
                "Expected base_model.model.<module>.lora_A.weight; save with save_pretrained()",
            )
        if not info.readable:
            raise AdapterRefused(f"Tensor {key} is of type {info.dtype}", "Save it as bfloat16")
        sides = halves.setdefault(match["module"], {})
        if match["side"] in sides:
            raise AdapterRefused(
                f"{match['module']} has two lora_{match['side']}", "Save the adapter again"
            )
        sides[match["side"]] = (info, bool(match["embedding"]))
    if not halves:
        raise AdapterRefused(f"{path} holds no tensors", "Train the adapter and save it again")
    return {module: _pair(module, sides) for module, sides in halves.items()}


def _pair(module: str, sides: dict[str, tuple[TensorInfo, bool]]) -> _Pair:
    for side in "AB":
        if side not in sides:
            raise AdapterRefused(f"{module} has no lora_{side}", "Save the adapter again")
    if sides["A"][1] != sides["B"][1]:
        raise AdapterRefused(
            f"Of {module}'s two factors one is an embedding's", "Save the adapter again"
        )
    return _Pair(sides["A"][0], sides["B"][0], sides["A"][1])


def _check_module(module: str, pair: _Pair, config: LoraConfig, base: BaseProfile) -> None:
    shape = base.modules.get(module)
    if shape is None:
        layer = _LAYER.search(module)
        if layer and int(layer[1]) >= base.layers:
            reason = f"has layer {layer[1]}, the base {base.name} has {base.layers} layers"
        else:
            reason = f"is no part of the base {base.name}"
        raise AdapterRefused(f"The adapter's {module} {reason}", "Serve the base it was trained on")
    out, inner = shape[::-1] if pair.embedding else shape
    rank = config.rank_of(module)
    for side, info, wanted in (("A", pair.a, (rank, inner)), ("B", pair.b, (out, rank))):
        if info.shape != wanted:
            raise AdapterRefused(
                f"{module}.lora_{side} is {info.shape}, rank {rank} on this base needs {wanted}",
                f"Serve the base it was trained on, and its true r in {CONFIG_FILE}",
            )
    if config.scale_of(module) > _MOST_SCALE:
        raise AdapterRefused(
            f"{module} is scaled by {config.scale_of(module):g}: lora_alpha is far above the rank",
            f"Write the lora_alpha it was trained with into {CONFIG_FILE}",
        )


def _check_coverage(pairs: dict[str, _Pair], config: LoraConfig, base: BaseProfile) -> None:
    """Refuse an adapter from a base with fewer layers: vLLM would apply it to the first ones."""
    if not config.target_modules:
        raise AdapterRefused(
            f"target_modules is {config.target_modules!r}", "Write the modules it was trained on"
        )
    if config.target_modules != "all-linear" and not any(map(config.is_target, pairs)):
        raise AdapterRefused(
            f"target_modules names none of the adapter's modules: {config.target_modules!r:.80}",
            "Write the modules it was trained on",
        )
    if config.layers_to_transform is not None or config.exclude_modules:
        return
    missing = [name for name in base.modules if config.is_target(name) and name not in pairs]
    if missing:
        raise AdapterRefused(
            f"The base's {missing[0]} is a target module, but the adapter has no tensors for it",
            "Serve the base it was trained on",
        )


def _check_values(path: Path, pairs: dict[str, _Pair], config: LoraConfig) -> None:
    """All finite, none too large to compute with, and together they change the base."""
    change, zero = 0.0, True
    for module, pair in pairs.items():
        a, b = read_floats(path, pair.a), read_floats(path, pair.b)
        for side, values in (("A", a), ("B", b)):
            _check_range(f"{module}.lora_{side}", values)
        zero = zero and not (a.any() and b.any())
        change = max(change, config.scale_of(module) * change_norm(a, b))
    if zero:
        raise AdapterRefused(
            "Every lora_B is zero, so the adapter would do nothing", "Train it before adding it"
        )
    if change < _LEAST_CHANGE:
        raise AdapterRefused(
            f"B @ A is nowhere larger than {change:.1g}, so the adapter would do nothing",
            "Train it before adding it, and write its true lora_alpha",
        )


def _check_range(name: str, values: Floats) -> None:
    if not np.isfinite(values).all():
        raise AdapterRefused(
            f"{name} holds values that are not finite", "Train again with a lower learning rate"
        )
    if values.size and np.abs(values).max() > _MOST_VALUE:
        raise AdapterRefused(
            f"{name} holds values above {_MOST_VALUE}, which half precision cannot hold",
            "Train again with a lower learning rate",
        )


def change_norm(a: Floats, b: Floats) -> float:
    """The Frobenius norm of B @ A, without making the full matrix."""
    left, right = a.astype(np.float64), b.astype(np.float64)
    return math.sqrt(max(0.0, float(np.sum((right.T @ right) * (left @ left.T)))))
