"""Versions of one base to a new adapter folder that `AdapterRegistry.add` takes as it is."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

import numpy as np
from safetensors.numpy import save_file

from adapters.base import BaseProfile
from adapters.manifest import (
    CARD_FILE,
    CONFIG_FILE,
    WEIGHTS_FILE,
    AdapterCard,
    AdapterManifest,
    BaseIdentity,
    MergeRecord,
    Parent,
    TrainedWith,
    to_json,
)
from adapters.merging.deltas import Delta, Factors, module_of, tensor_names
from adapters.merging.joining import (
    Weighted,
    compressed,
    concatenated,
    dare,
    factored,
    padded,
    ties,
)
from adapters.tensors import Floats
from indexer.errors import BadInput
from indexer.settings import store_errors

Method = Literal["linear", "ties", "dare"]
Step = Callable[[int, int], None]
_LEAST_DENSITY: Final = 0.001
_NOTHING: Final = 1e-10


@dataclass(frozen=True, slots=True)
class Part:
    """One version to be merged, where it lies, and how strongly it is to work."""

    manifest: AdapterManifest
    folder: Path
    weight: float = 1.0


@dataclass(frozen=True, slots=True)
class MergeSettings:
    """`rank` bounds the result's; without it a linear merge is exact, and its ranks add up.

    `density` is the share of entries that TIES and DARE keep; `seed` is DARE's.
    """

    name: str
    method: Method = "linear"
    rank: int | None = None
    density: float = 0.5
    seed: int = 0


def merge(
    parts: Sequence[Part],
    settings: MergeSettings,
    base: BaseProfile,
    out: Path,
    max_rank: int,
    step: Step = lambda done, total: None,
) -> MergeRecord:
    """Write the merged adapter into the folder `out`; BadInput if parts do not go together."""
    check(parts, settings, max_rank)
    chance = np.random.default_rng(settings.seed)
    deltas = [(part.weight, Delta.open(part.folder)) for part in parts]
    stems = sorted({stem for _, delta in deltas for stem in delta.pairs})
    made: dict[str, Factors] = {}
    lost = whole = apart = 0.0
    for done, stem in enumerate(stems, 1):
        changes = [
            (weight, factors) for weight, delta in deltas if (factors := delta.factors(stem))
        ]
        made[stem], size, error = _joined(changes, settings, chance)
        whole, lost = whole + size, lost + error
        apart += sum(weight**2 * factors.size() for weight, factors in changes)
        step(done, len(stems))
    if whole <= _NOTHING * apart:
        raise BadInput("The parts cancel each other out", "Give other weights")
    record = _record(parts, settings, math.sqrt(lost / whole))
    _write(out, made, base, _card(parts, settings, base, record))
    return record


def check(parts: Sequence[Part], settings: MergeSettings, max_rank: int) -> None:
    """Everything that can be said before a weight is read."""
    if not _LEAST_DENSITY <= settings.density <= 1:
        raise BadInput(f"A density of {settings.density} is none", "Give a share up to 1")
    first = parts[0].manifest
    for other in (part.manifest for part in parts[1:]):
        for what, mine, yours in (
            ("base", first.base.digest, other.base.digest),
            ("prompt format", first.prompt_format, other.prompt_format),
        ):
            if mine != yours:
                raise BadInput(
                    f"{first.label} and {other.label} differ in their {what}",
                    f"Merge versions that were trained on the same {what}",
                )
    for part in parts:
        if not math.isfinite(part.weight) or part.weight == 0:
            raise BadInput(
                f"The weight of {part.manifest.label} is {part.weight}", "Give a number but 0"
            )
    needed = _rank(parts, settings)
    if needed > max_rank:
        raise BadInput(
            f"The merged adapter would have rank {needed}, the engine takes {max_rank}",
            f"Give --rank {max_rank} to compress it, or raise the engine's highest rank",
        )


def _rank(parts: Sequence[Part], settings: MergeSettings) -> int:
    ranks = [part.manifest.rank for part in parts]
    return settings.rank or (sum(ranks) if settings.method == "linear" else max(ranks))


def _joined(
    changes: Weighted, settings: MergeSettings, chance: np.random.Generator
) -> tuple[Factors, float, float]:
    """One module's factors, the squared size of its change, and what of that was lost."""
    if settings.method == "linear":
        exact = concatenated(changes)
        small = exact if settings.rank is None else compressed(exact, settings.rank)
        gap = 0.0 if small is exact else concatenated([(1.0, exact), (-1.0, small)]).size()
        return small, exact.size(), gap
    if settings.method == "ties":
        delta = ties(changes, settings.density)
    else:
        delta = dare(changes, settings.density, chance)
    rank = settings.rank or max(factors.a.shape[0] for _, factors in changes)
    made = factored(delta, rank)
    lost = np.square(made.delta() - delta, dtype=np.float64).sum()
    return made, float(np.square(delta, dtype=np.float64).sum()), float(lost)


def _record(parts: Sequence[Part], settings: MergeSettings, error: float) -> MergeRecord:
    parents = [
        Parent(digest=part.manifest.digest, label=part.manifest.label, weight=part.weight)
        for part in parts
    ]
    return MergeRecord(
        parents=tuple(parents),
        method=settings.method,
        density=1.0 if settings.method == "linear" else settings.density,
        seed=settings.seed,
        error=error,
    )


def _card(
    parts: Sequence[Part], settings: MergeSettings, base: BaseProfile, record: MergeRecord
) -> AdapterCard:
    manifests = [part.manifest for part in parts]
    rows = hashlib.sha256("".join(one.dataset_digest for one in manifests).encode()).hexdigest()
    said = " + ".join(f"{parent.weight:g} x {parent.label}" for parent in record.parents)
    return AdapterCard(
        name=settings.name,
        base=BaseIdentity(name=base.name, digest=base.digest, parts=dict(base.parts)),
        prompt_format=manifests[0].prompt_format,
        trained_with=TrainedWith(
            demonstrations=any(one.trained_with.demonstrations for one in manifests),
            passages=any(one.trained_with.passages for one in manifests),
        ),
        dataset_digest=rows,
        note=f"{settings.method}: {said}",
        merged=record,
    )


def _write(out: Path, made: dict[str, Factors], base: BaseProfile, card: AdapterCard) -> None:
    """Float32, so that a sum stays a sum; alpha equals the rank, since the scale is in B."""
    rank = max(factors.a.shape[0] for factors in made.values())
    tensors: dict[str, Floats] = {}
    for stem, factors in made.items():
        filled = padded(factors, rank)
        tensors |= zip(tensor_names(stem), (filled.a, filled.b), strict=True)
    config = {
        "peft_type": "LORA",
        "task_type": "CAUSAL_LM",
        "base_model_name_or_path": base.name,
        "r": rank,
        "lora_alpha": rank,
        "lora_dropout": 0.0,
        "bias": "none",
        "inference_mode": True,
        "target_modules": _targets({module_of(stem) for stem in made}, base),
    }
    with store_errors(out):
        save_file(
            {name: np.ascontiguousarray(value) for name, value in tensors.items()},
            out / WEIGHTS_FILE,
        )
        (out / CONFIG_FILE).write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")
        (out / CARD_FILE).write_bytes(to_json(card))


def _targets(modules: set[str], base: BaseProfile) -> list[str]:
    """By their last names where all of that name are changed, else by their full paths."""
    others = {name.rsplit(".", 1)[-1] for name in base.modules if name not in modules}
    lasts = {module: module.rsplit(".", 1)[-1] for module in modules}
    return sorted({module if last in others else last for module, last in lasts.items()})
