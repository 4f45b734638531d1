"""What a person sees of a run: the rows as they are learned, what it takes, and how it goes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

import typer

from adapters.training.settings import Progress

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

    from adapters.training.lora import Lesson

_SHOWN: Final = 3


def show(lessons: Sequence[Lesson], tokenizer: PreTrainedTokenizerBase) -> None:
    """Three lessons as the base sees them, what is learned between the arrows; on stderr."""
    for lesson in lessons[:_SHOWN]:
        for row in lesson:
            seen = tokenizer.decode(list(row.tokens[: row.answer_start]))
            learned = tokenizer.decode(list(row.tokens[row.answer_start :]))
            typer.echo(f"{seen}>>>{learned}<<<\n", err=True)
    longest = max(len(row.tokens) for lesson in lessons for row in lesson)
    total = sum(len(row.tokens) for lesson in lessons for row in lesson)
    typer.echo(f"{len(lessons)} rows, {total} tokens, the longest {longest}", err=True)


def report_training(progress: Progress) -> None:
    """Some forty lines a run, on stderr: the result alone goes to stdout."""
    if progress.step % max(1, progress.steps // 40) == 0 or progress.held_out is not None:
        held = f", held out {progress.held_out:.3f}" if progress.held_out is not None else ""
        where = f"step {progress.step} of {progress.steps}, loss {progress.loss:.3f}{held}"
        speed = f"{progress.tokens_per_second:.0f} tokens/s"
        typer.echo(f"{where}, {speed}, {progress.seconds_left:.0f} s left", err=True)
