"""What a training run is told, and what it tells while it runs."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, TypeAlias

from adapters.prompt import PromptFormat

Method: TypeAlias = Literal["lora", "rslora", "qlora", "continued", "dpo", "full"]


@dataclass(frozen=True, slots=True)
class TrainSettings:
    """What to train, on what, and where to put it.

    `full` trains every weight, and its `out` is a base. No `target_modules` means every linear
    layer but the output. Without `steps`, `epochs` counts. `dtype` is the base's: `auto` is bf16
    on a GPU and fp32 on a CPU; LoRA weights stay fp32 until they are saved as bf16. `run` is where
    a run that is cut short leaves its state, and where the same command finds it. `validation`
    rows are asked every `check_steps`; after `patience` checks without gain the run ends, and the
    best weights are kept. `beta` is DPO's. With `answer_tokens` prompts are cut to the context
    less these, as the service does; whole pieces are dropped.
    """

    base: str
    rows: Path
    out: Path
    name: str
    method: Method = "lora"
    prompt_format: PromptFormat = "sentences"
    system: str = ""
    refusal: str = "The documents do not say."
    rank: int = 16
    alpha: int = 32
    target_modules: tuple[str, ...] = ()
    steps: int | None = None
    epochs: float = 3.0
    batch: int = 8
    accumulate: int = 1
    learning_rate: float = 2e-4
    warmup: int = 10
    clip: float = 1.0
    beta: float = 0.1
    max_tokens: int | None = None
    seed: int = 0
    device: str | None = None
    dtype: Literal["auto", "fp32", "bf16"] = "auto"
    threads: int | None = None
    note: str = ""
    validation: Path | None = None
    check_steps: int = 50
    patience: int = 3
    run: Path | None = None
    save_steps: int = 50
    answer_tokens: int | None = None


@dataclass(frozen=True, slots=True)
class Progress:
    """After one step; `loss` is the step's mean per answer token, `held_out` that of validation."""

    step: int
    steps: int
    loss: float
    tokens_per_second: float
    seconds_left: float
    held_out: float | None = None


Report = Callable[[Progress], None]
