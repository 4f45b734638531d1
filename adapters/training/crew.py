"""The processes that train one adapter together: those that `accelerate launch` started, else one.

All draw the same batches and hold the same weights; each learns its share of a batch, and the
gradients are added up. Only the first writes, stores and tells.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    import torch

T = TypeVar("T")
# Adds a tensor up over all processes, in place.
AddUp = Callable[["torch.Tensor"], None]


def is_first() -> bool:
    """Whether this process is the one that writes and tells; needs no torch."""
    return os.environ.get("RANK", "0") == "0"


@dataclass(frozen=True, slots=True)
class Crew:
    """Process `place` of `count`; `device` is this one's, None where it may choose."""

    place: int = 0
    count: int = 1
    device: str | None = None
    add_up: AddUp = lambda tensor: None

    def share(self, items: Sequence[T]) -> list[T]:
        """What of these is this process's to do."""
        return list(items[self.place :: self.count])

    def total(self, number: float) -> float:
        """The sum of all processes' numbers, the same in each."""
        if self.count == 1:
            return number
        import torch

        told = torch.tensor([number], dtype=torch.float32, device=self.device)
        self.add_up(told)
        return told.item()

    def add_gradients(self, weights: Sequence[torch.Tensor]) -> None:
        """Give every weight the sum of its gradients; a process without a share had none."""
        if self.count == 1:
            return
        import torch

        grads = [torch.zeros_like(w) if w.grad is None else w.grad for w in weights]
        whole = torch.cat([grad.flatten() for grad in grads])
        self.add_up(whole)
        start = 0
        for weight in weights:
            weight.grad = whole[start : start + weight.numel()].view_as(weight)
            start += weight.numel()


@contextmanager
def gathered() -> Iterator[Crew]:
    """The crew that this process belongs to; its connections are closed at the end."""
    if int(os.environ.get("WORLD_SIZE", "1")) == 1:
        yield Crew()
        return
    import torch.distributed
    from accelerate import PartialState

    state = PartialState()
    try:
        yield Crew(
            state.process_index,
            state.num_processes,
            str(state.device),
            lambda tensor: torch.distributed.all_reduce(tensor),
        )
    finally:
        state.destroy_process_group()
