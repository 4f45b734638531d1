"""How strongly an adapter's factors work, module by module: rank and alpha by PEFT's rules."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from typing import Any

from adapters.errors import AdapterRefused
from adapters.manifest import CONFIG_FILE


def rank_of(module: str, config: Mapping[str, Any]) -> int:
    """The module's rank: the first pattern that matches its end, else `r`."""
    found = _first(module, ranks_by_pattern(config))
    return int(config["r"] if found is None else found)


def scale_of(module: str, config: Mapping[str, Any]) -> float:
    """What B @ A is multiplied by: alpha / r, or alpha / sqrt(r) for rsLoRA (arXiv 2312.03732)."""
    found = _first(module, config.get("alpha_pattern") or {})
    alpha = float(config["lora_alpha"] if found is None else found)
    rank = rank_of(module, config)
    return alpha / (math.sqrt(rank) if config.get("use_rslora") else rank)


def ranks_by_pattern(config: Mapping[str, Any]) -> Mapping[str, int]:
    """`rank_pattern`, which is empty for most adapters; AdapterRefused if it is none."""
    ranks = config.get("rank_pattern") or {}
    if isinstance(ranks, dict) and all(isinstance(rank, int) for rank in ranks.values()):
        return ranks
    raise AdapterRefused(f"rank_pattern is {ranks!r}", "Map module names to ranks")


def matches(pattern: str, module: str) -> bool:
    """Does a pattern of the configuration name this module, whole?"""
    try:
        return re.fullmatch(pattern, module) is not None
    except re.error as error:
        raise AdapterRefused(
            f"{pattern!r} is no pattern ({error})", f"Correct {CONFIG_FILE}"
        ) from error


def _first(module: str, patterns: Mapping[str, Any]) -> Any:
    found = (value for key, value in patterns.items() if matches(rf"(.*\.)?({key})", module))
    return next(found, None)
