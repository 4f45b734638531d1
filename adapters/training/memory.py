"""What memory a run will take at most, told before its first step.

Nothing is guessed of the architecture: autograd is asked what it keeps of the longest lesson, and
of two such.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import psutil
import torch

from adapters.training.losses import lesson_loss
from adapters.training.rendering import TokenRow

# A gradient and AdamW's two moments, in fp32, for each number that is learned.
_LEARNED_BYTES: Final = 12


@dataclass(frozen=True, slots=True)
class Memory:
    """Bytes: of all weights, of what learning adds to them, of one batch, and what is free now."""

    weights: int
    learning: int
    batch: int
    free: int

    @property
    def needed(self) -> int:
        return self.weights + self.learning + self.batch

    @property
    def is_short(self) -> bool:
        """The weights are in memory already."""
        return self.learning + self.batch > self.free


def estimate(lora: Any, lessons: Sequence[tuple[TokenRow, ...]], batch: int, beta: float) -> Memory:
    """Of a run over these lessons, `batch` of them at once; the longest one is tried."""
    longest = max(lessons, key=lambda lesson: sum(len(row.tokens) for row in lesson))
    once, twice = (_kept(lora, [longest] * count, beta) for count in (1, 2))
    learned = sum(weight.numel() for weight in lora.parameters() if weight.requires_grad)
    return Memory(
        weights=sum(weight.numel() * weight.element_size() for weight in lora.parameters()),
        learning=_LEARNED_BYTES * learned,
        batch=once + (min(batch, len(lessons)) - 1) * (twice - once),
        free=_free(lora.device),
    )


def _kept(lora: Any, lessons: Sequence[tuple[TokenRow, ...]], beta: float) -> int:
    """Bytes that autograd keeps of these lessons for the backward pass, the weights not counted."""
    weights = {weight.untyped_storage().data_ptr() for weight in lora.parameters()}
    found: dict[int, int] = {}

    def note(tensor: torch.Tensor) -> torch.Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in weights:
            found[storage.data_ptr()] = storage.nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor):
        loss = lesson_loss(lora, lessons, beta)
    del loss  # until here nothing was freed, so that no address was noted twice
    return sum(found.values())


def _free(device: torch.device) -> int:
    if device.type == "cuda":
        free: int = torch.cuda.mem_get_info(device)[0]
        return free
    return int(psutil.virtual_memory().available)
