"""What an adapter changes in its base, module by module, read without torch."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import numpy as np

from adapters.lora_config import LoraConfig
from adapters.manifest import WEIGHTS_FILE
from adapters.tensors import Floats, TensorInfo, read_floats, read_header
from adapters.verify import KEY


@dataclass(frozen=True, slots=True)
class Factors:
    """A module's weight changes by `b @ a`: `a` is (rank, in), `b` is (out, rank) and holds the
    scale."""

    a: Floats
    b: Floats

    def delta(self) -> Floats:
        """The change itself, (out, in)."""
        change: Floats = self.b @ self.a
        return change

    def size(self) -> float:
        """The sum of the squares of all entries, without making the full matrix."""
        a, b = self.a.astype(np.float64), self.b.astype(np.float64)
        return max(0.0, float(np.sum((b.T @ b) * (a @ a.T))))


@dataclass(frozen=True, slots=True)
class Delta:
    """A verified adapter's file; `pairs` maps "module.lora_" to the places of its two factors."""

    path: Path
    config: LoraConfig
    pairs: Mapping[str, Mapping[str, TensorInfo]]

    @classmethod
    def open(cls, folder: Path) -> Self:
        """Reads the header only; the values come module by module."""
        pairs: dict[str, dict[str, TensorInfo]] = {}
        for key, info in read_header(folder / WEIGHTS_FILE).items():
            match = KEY.fullmatch(key)
            assert match, f"{key} passed verification"
            stem = f"{match['module']}.lora_{match['embedding'] or ''}"
            pairs.setdefault(stem, {})[match["side"]] = info
        return cls(folder / WEIGHTS_FILE, LoraConfig.read(folder), pairs)

    def factors(self, stem: str) -> Factors | None:
        """A module's factors; None if the adapter leaves that module as it is."""
        if stem not in self.pairs:
            return None
        a, b = (read_floats(self.path, self.pairs[stem][side]) for side in "AB")
        return Factors(a, b * self.config.scale_of(module_of(stem)))


def module_of(stem: str) -> str:
    """The module's path in the base."""
    return stem.rsplit(".lora_", 1)[0]


def tensor_names(stem: str) -> tuple[str, str]:
    """What PEFT calls the factors A and B in a file; those of embeddings have no ".weight"."""
    ending = "" if stem.endswith("embedding_") else ".weight"
    return f"base_model.model.{stem}A{ending}", f"base_model.model.{stem}B{ending}"
