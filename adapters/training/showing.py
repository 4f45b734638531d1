"""What a person sees of a run: the rows as they are learned, what it takes, and how it goes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import typer

from adapters.training.settings import Progress, TrainSettings

if TYPE_CHECKING:
    from adapters.training.lora import Lesson
    from adapters.training.memory import Memory
    from adapters.training.train import Plan

_SHOWN: Final = 3
_MIB: Final = 1 << 20


def show(plan: Plan, settings: TrainSettings) -> None:
    """Three lessons as the base sees them, their sizes, and the memory it takes; on stderr."""
    from adapters.training.memory import estimate

    tokenizer = plan.learner.tokenizer
    for lesson in plan.lessons[:_SHOWN]:
        for row in lesson:
            seen = tokenizer.decode(list(row.tokens[: row.answer_start]))
            learned = tokenizer.decode(list(row.tokens[row.answer_start :]))
            typer.echo(f"{seen}>>>{learned}<<<\n", err=True)
    for line in (
        _sizes(plan.rows, plan.lessons),
        _way(settings.method, plan.learner.lora.device.type),
        _memory(estimate(plan.learner.lora, plan.lessons, settings.batch, settings.beta)),
    ):
        typer.echo(line, err=True)


def _sizes(rows: int, lessons: list[Lesson]) -> str:
    lengths = [len(row.tokens) for lesson in lessons for row in lesson]
    left_out = rows - len(lessons)
    too_long = f"; {left_out} rows do not fit and are left out" if left_out > 0 else ""
    return f"{len(lessons)} rows, {sum(lengths)} tokens, the longest {max(lengths)}{too_long}"


def _way(method: str, device: str) -> str:
    if method != "qlora":
        return f"{method} on {device}, AdamW"
    paged = "paged AdamW" if device == "cuda" else "AdamW, not paged: there is no GPU"
    return f"qlora on {device}: the base in NF4, quantised twice; {paged}"


def _memory(found: Memory) -> str:
    parts = (found.weights, found.learning, found.batch)
    told = "{:.0f} MiB of weights, {:.0f} of learning, {:.0f} of a batch".format(
        *(part / _MIB for part in parts)
    )
    needed = f"takes about {found.needed / _MIB:.0f} MiB ({told}), {found.free / _MIB:.0f} are free"
    return f"{needed}: TOO LITTLE, lower --batch, raise --accumulate" if found.is_short else needed


def report_training(progress: Progress) -> None:
    """Some forty lines a run, on stderr: the result alone goes to stdout."""
    if progress.step % max(1, progress.steps // 40) == 0 or progress.held_out is not None:
        held = f", held out {progress.held_out:.3f}" if progress.held_out is not None else ""
        where = f"step {progress.step} of {progress.steps}, loss {progress.loss:.3f}{held}"
        speed = f"{progress.tokens_per_second:.0f} tokens/s"
        typer.echo(f"{where}, {speed}, {progress.seconds_left:.0f} s left", err=True)
