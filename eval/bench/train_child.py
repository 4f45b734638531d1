"""One training run over some rows, by us or by a bare loop; prints what it took.

`python -m eval.bench.train_child ours|bare SETTINGS`, a JSON file of `Job`. In a process of its
own, so that the peak of its memory is its alone.
"""

from __future__ import annotations

import json
import random
import resource
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psutil

from adapters.training.settings import TrainSettings

if TYPE_CHECKING:
    import torch

    from adapters.training.rendering import TokenRow

_IGNORED = -100


@dataclass(frozen=True, slots=True)
class Job:
    """Both do one pass over the same rows with the same settings; `out` is for our adapter."""

    base: str
    rows: str
    out: str
    method: str
    rank: int
    batch: int
    rate: float
    threads: int
    seed: int


@dataclass(frozen=True, slots=True)
class Took:
    """Seconds of the steps alone; `peak_mb` of the whole process, `before_mb` when they began.

    `told_mb` is what we said beforehand that the steps would add.
    """

    tokens: int
    seconds: float
    peak_mb: float
    before_mb: float
    first_loss: float
    last_loss: float
    told_mb: float = 0.0


def settings_of(job: Job) -> TrainSettings:
    """As `dslm adapters train` would have them."""
    return TrainSettings(
        base=job.base,
        rows=Path(job.rows),
        out=Path(job.out),
        name="bench",
        method="qlora" if job.method == "qlora" else "lora",
        rank=job.rank,
        alpha=2 * job.rank,
        epochs=1.0,
        batch=job.batch,
        learning_rate=job.rate,
        warmup=0,
        seed=job.seed,
        threads=job.threads,
        device=None,
    )


def ours(job: Job) -> Took:
    """`train_adapter` itself, from the first step to the last."""
    from adapters.training.memory import estimate
    from adapters.training.train import Plan, Progress, train_adapter

    began, tokens, before, told = [0.0], [0], [0.0], [0.0]
    losses: list[tuple[float, float]] = []

    def preview(plan: Plan) -> None:
        tokens[0] = sum(len(row.tokens) for lesson in plan.lessons for row in lesson)
        needed = estimate(plan.learner.lora, plan.lessons, job.batch, 0.1)
        told[0] = (needed.learning + needed.batch) / 2**20
        before[0] = _now_mb()
        began[0] = time.perf_counter()

    def report(progress: Progress) -> None:
        losses.append((progress.loss, time.perf_counter()))

    train_adapter(settings_of(job), report, preview=preview)
    seconds = losses[-1][1] - began[0]
    took = _took(tokens[0], seconds, before[0], [loss for loss, _ in losses])
    return replace(took, told_mb=told[0])


def bare(job: Job) -> Took:
    """What one writes with peft and transformers: shuffled, padded batches, AdamW."""
    import torch

    from adapters.base import BaseProfile
    from adapters.training.lessons import lessons_of
    from adapters.training.lora import attach
    from adapters.training.losses import autocast
    from adapters.training.rendering import read_rows

    settings = settings_of(job)
    torch.set_num_threads(job.threads)
    torch.manual_seed(job.seed)
    base = BaseProfile.read(job.base)
    learner = attach(settings, base)  # the same base and LoRA: the loop is what is compared
    lessons = lessons_of(settings, base, read_rows(settings.rows), learner)
    rows = [row for lesson in lessons for row in lesson]
    lora: Any = learner.lora
    weights = [weight for weight in lora.parameters() if weight.requires_grad]
    optimiser = torch.optim.AdamW(weights, lr=job.rate, weight_decay=0.0)
    lora.train()
    losses = []
    before, began = _now_mb(), time.perf_counter()
    for tokens, mask, labels in _batches(rows, job.batch, job.seed):
        with autocast(lora.device):
            loss = lora(input_ids=tokens, attention_mask=mask, labels=labels).loss
        loss.backward()
        torch.nn.utils.clip_grad_norm_(weights, 1.0)
        optimiser.step()
        optimiser.zero_grad()
        losses.append(loss.item())
    return _took(sum(len(row.tokens) for row in rows), time.perf_counter() - began, before, losses)


def _batches(
    rows: Sequence[TokenRow], size: int, seed: int
) -> Iterator[tuple[torch.Tensor, torch.Tensor, torch.Tensor]]:
    """Tokens, mask and labels, (rows, length) each, padded on the right."""
    import torch

    shuffled = random.Random(seed).sample(rows, len(rows))
    for start in range(0, len(shuffled), size):
        batch = shuffled[start : start + size]
        length = max(len(row.tokens) for row in batch)
        tokens = torch.zeros(len(batch), length, dtype=torch.long)
        mask, labels = torch.zeros_like(tokens), torch.full_like(tokens, _IGNORED)
        for place, row in enumerate(batch):
            filled = torch.tensor(row.tokens)
            tokens[place, : len(filled)] = filled
            mask[place, : len(filled)] = 1
            labels[place, row.answer_start : len(filled)] = filled[row.answer_start :]
        yield tokens, mask, labels


def _now_mb() -> float:
    """Memory that this process holds."""
    held: int = psutil.Process().memory_info().rss
    return held / 2**20


def _took(tokens: int, seconds: float, before: float, losses: Sequence[float]) -> Took:
    last = losses[-10:]
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return Took(tokens, seconds, peak, before, losses[0], sum(last) / len(last))


def main() -> None:
    """One line of JSON."""
    who, file = sys.argv[1:3]
    job = Job(**json.loads(Path(file).read_text(encoding="utf-8")))
    from adapters.training.extras import admit_extras

    admit_extras(job.method)
    took = ours(job) if who == "ours" else bare(job)
    sys.stdout.write(json.dumps(asdict(took)) + "\n")


if __name__ == "__main__":
    main()
