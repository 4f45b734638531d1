"""The state of a training run on disk: written whole or not at all, so a kill costs steps only."""

from __future__ import annotations

import io
import shutil
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import torch

from indexer.settings import store_errors, write_atomically

_FILE: Final = "state.pt"
Weights = dict[str, torch.Tensor]


@dataclass(slots=True)
class State:
    """Everything that the next step depends on, and what is told at the end."""

    step: int = 0
    losses: list[float] = field(default_factory=list)
    weights: Weights = field(default_factory=dict)
    optimiser: dict[str, Any] = field(default_factory=dict)
    best: float | None = None
    best_weights: Weights = field(default_factory=dict)
    waited: int = 0


class Checkpoint:
    """Where one run keeps its state; without a folder it keeps none. Not all processes write."""

    def __init__(self, folder: Path | None, *, writes: bool = True) -> None:
        self._folder = folder
        self._writes = writes

    def load(self) -> State:
        """What a run that was cut short left, or the beginning."""
        if self._folder is None or not (self._folder / _FILE).is_file():
            return State()
        with store_errors(self._folder):
            found = torch.load(self._folder / _FILE, map_location="cpu", weights_only=True)
        return State(**found)

    def save(self, state: State) -> None:
        """Replace what was saved before."""
        if self._folder is None or not self._writes:
            return
        content = io.BytesIO()
        torch.save({name: getattr(state, name) for name in State.__slots__}, content)
        with store_errors(self._folder):
            self._folder.mkdir(parents=True, exist_ok=True)
            write_atomically(self._folder / _FILE, content.getvalue())

    def clear(self) -> None:
        """Forget the run: what it made is stored."""
        if self._folder is not None and self._writes:
            shutil.rmtree(self._folder, ignore_errors=True)
