"""What turns gradients into steps, and whether gradients can be trusted at all."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, Final

import torch

from adapters.errors import TrainingFailed
from adapters.training.losses import lesson_loss
from adapters.training.rendering import TokenRow
from adapters.training.settings import TrainSettings

_LEAST_COSINE: Final = 0.999


def optimiser_of(
    settings: TrainSettings, device: torch.device, weights: Iterable[torch.Tensor]
) -> torch.optim.Optimizer:
    """AdamW; of QLoRA on a GPU paged, so that its state yields to a long batch (section 3)."""
    if settings.method == "qlora" and device.type == "cuda":
        from bitsandbytes.optim import PagedAdamW32bit

        paged: torch.optim.Optimizer = PagedAdamW32bit(
            weights, lr=settings.learning_rate, weight_decay=0.0
        )
        return paged
    return torch.optim.AdamW(weights, lr=settings.learning_rate, weight_decay=0.0)


def check_gradients(lora: Any, lessons: Sequence[tuple[TokenRow, ...]], beta: float) -> None:
    """TrainingFailed if an evaluation changes what is learned from the very same lessons.

    bitsandbytes 0.50.2 does that on some processors and says nothing; see `loading`. Leaves the
    weights as they are and training mode on.
    """
    before = _gradients(lora, lessons, beta)
    lora.eval()
    with torch.no_grad():
        lesson_loss(lora, lessons, beta)
    lora.train()
    after = _gradients(lora, lessons, beta)
    cosine = torch.nn.functional.cosine_similarity(before, after, dim=0).item()
    size = (after.norm() / before.norm()).item()
    if not (cosine > _LEAST_COSINE and abs(size - 1) < 1 - _LEAST_COSINE):
        raise TrainingFailed(
            f"An evaluation changes the gradients of the four-bit base (cosine {cosine:.3f}, "
            f"size {size:.3f} of what it was): what is learned afterwards would be wrong",
            "Train with --method lora, or with another version of bitsandbytes",
        )


def _gradients(lora: Any, lessons: Sequence[tuple[TokenRow, ...]], beta: float) -> torch.Tensor:
    """Of every trained weight, as one vector on the CPU."""
    lora.zero_grad()
    torch.autograd.backward(lesson_loss(lora, lessons, beta))
    found = [
        torch.zeros_like(weight) if weight.grad is None else weight.grad
        for weight in lora.parameters()
        if weight.requires_grad
    ]
    lora.zero_grad()
    return torch.cat([grad.detach().flatten().float().cpu() for grad in found])
