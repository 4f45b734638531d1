"""Whether an adapter would really be served: static checks on its files, without torch.

vLLM answers 200 to adapters that it then applies wrongly or not at all (false rank, wrong keys,
layers or shapes of another base, B = 0); what it would refuse is refused here first, in words.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np

from adapters.base import BaseProfile
from adapters.errors import AdapterRefused
from adapters.manifest import CONFIG_FILE, WEIGHTS_FILE
from adapters.scaling import matches, rank_of, ranks_by_pattern
from adapters.tensors import TensorInfo, read_floats, read_header

KEY: Final = re.compile(
    r"base_model\.model\.(?P<module>.+)\.lora_(?P<embedding>embedding_)?(?P<side>[AB])(\.weight)?"
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
)


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
    config = _read_config(folder / CONFIG_FILE)
    _check_features(config)
    _check_scale(config, max_rank)
    _check_base_name(config, base)
    pairs = _read_pairs(folder)
    for module, pair in pairs.items():
        _check_module(module, pair, config, base)
    _check_coverage(pairs, config, base)
    _check_values(folder / WEIGHTS_FILE, pairs)
    targets = sorted({module.rsplit(".", 1)[-1] for module in pairs})
    return AdapterFacts(config["r"], float(config["lora_alpha"]), tuple(targets))


def _read_config(path: Path) -> dict[str, Any]:
    try:
        config = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise AdapterRefused(
            f"There is no {path}", f"Name a PEFT folder with {CONFIG_FILE} and {WEIGHTS_FILE}"
        ) from error
    except (OSError, ValueError) as error:
        raise AdapterRefused(
            f"{path} cannot be read ({error})", "Save the adapter again"
        ) from error
    if not isinstance(config, dict):
        raise AdapterRefused(f"{path} is not a JSON object", "Save the adapter again")
    return config


def _check_features(config: dict[str, Any]) -> None:
    if config.get("peft_type", "LORA") != "LORA":
        raise AdapterRefused(f"peft_type is {config['peft_type']!r}", "Train a LoRA")
    for field in _UNSERVED:
        if config.get(field):
            raise AdapterRefused(
                f"The engine does not serve adapters with {field} = {config[field]!r}",
                f"Train without {field}",
            )
    if config.get("bias", "none") != "none":
        raise AdapterRefused(f"bias is {config['bias']!r}", "Train with bias = 'none'")
    if config.get("init_lora_weights", True) not in _STARTS:
        raise AdapterRefused(
            f"init_lora_weights is {config['init_lora_weights']!r}, which changes the base",
            "Convert it to an ordinary LoRA when saving",
        )


def _check_scale(config: dict[str, Any], max_rank: int) -> None:
    rank, alpha = config.get("r"), config.get("lora_alpha")
    if not isinstance(rank, int) or isinstance(rank, bool) or rank < 1:
        raise AdapterRefused(
            f"r is {rank!r} in {CONFIG_FILE}", "Write the rank it was trained with"
        )
    if not isinstance(alpha, int | float) or alpha <= 0:
        raise AdapterRefused(
            f"lora_alpha is {alpha!r} in {CONFIG_FILE}, so the adapter would do nothing",
            "Write the lora_alpha it was trained with",
        )
    highest = max([rank, *ranks_by_pattern(config).values()])
    if highest > max_rank:
        raise AdapterRefused(
            f"The adapter's rank {highest} is above the engine's {max_rank}",
            f"Raise the engine's highest rank to {highest}, or train with r = {max_rank}",
        )


def _check_base_name(config: dict[str, Any], base: BaseProfile) -> None:
    """Hub ids that differ tell another base; a local path tells nothing."""
    named = config.get("base_model_name_or_path") or ""
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
            f"There is no {path}", "Save it as safetensors; pickled weights are never opened"
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
                f"Tensor {key} is none the engine would apply",
                "Expected base_model.model.<module>.lora_A.weight; save with save_pretrained()",
            )
        if not info.readable:
            raise AdapterRefused(f"Tensor {key} is of type {info.dtype}", "Save it as bfloat16")
        halves.setdefault(match["module"], {})[match["side"]] = (info, bool(match["embedding"]))
    if not halves:
        raise AdapterRefused(f"{path} holds no tensors", "Train the adapter and save it again")
    return {module: _pair(module, sides) for module, sides in halves.items()}


def _pair(module: str, sides: dict[str, tuple[TensorInfo, bool]]) -> _Pair:
    for side in "AB":
        if side not in sides:
            raise AdapterRefused(f"{module} has no lora_{side}", "Save the adapter again")
    return _Pair(sides["A"][0], sides["B"][0], sides["A"][1])


def _check_module(module: str, pair: _Pair, config: dict[str, Any], base: BaseProfile) -> None:
    shape = base.modules.get(module)
    if shape is None:
        layer = _LAYER.search(module)
        if layer and int(layer[1]) >= base.layers:
            reason = f"has layer {layer[1]}, the base {base.name} has {base.layers} layers"
        else:
            reason = f"is no part of the base {base.name}"
        raise AdapterRefused(f"The adapter's {module} {reason}", "Serve the base it was trained on")
    out, inner = shape[::-1] if pair.embedding else shape
    rank = rank_of(module, config)
    for side, info, wanted in (("A", pair.a, (rank, inner)), ("B", pair.b, (out, rank))):
        if info.shape != wanted:
            raise AdapterRefused(
                f"{module}.lora_{side} is {info.shape}, rank {rank} on this base needs {wanted}",
                f"Serve the base it was trained on, and its true r in {CONFIG_FILE}",
            )


def _check_coverage(pairs: dict[str, _Pair], config: dict[str, Any], base: BaseProfile) -> None:
    """Refuse an adapter from a base with fewer layers: vLLM would apply it to the first ones."""
    targets = config.get("target_modules")
    if not targets:
        raise AdapterRefused(
            f"target_modules is {targets!r}", "Write the modules it was trained on"
        )
    if config.get("layers_to_transform") or config.get("exclude_modules"):
        return
    missing = [
        module for module in base.modules if _is_target(module, targets) and module not in pairs
    ]
    if missing:
        raise AdapterRefused(
            f"The base's {missing[0]} is a target module, but the adapter has no tensors for it",
            "Serve the base it was trained on",
        )


def _is_target(module: str, targets: str | list[str]) -> bool:
    if isinstance(targets, str):
        return targets != "all-linear" and matches(targets, module)
    return any(module == target or module.endswith(f".{target}") for target in targets)


def _check_values(path: Path, pairs: dict[str, _Pair]) -> None:
    works = False
    for module, pair in pairs.items():
        factors = {"A": read_floats(path, pair.a), "B": read_floats(path, pair.b)}
        for side, values in factors.items():
            if not np.isfinite(values).all():
                raise AdapterRefused(
                    f"{module}.lora_{side} holds values that are not finite",
                    "Train again with a lower learning rate",
                )
        works = works or all(values.any() for values in factors.values())
    if not works:
        raise AdapterRefused(
            "Every lora_B is zero, so the adapter would do nothing", "Train it before adding it"
        )
