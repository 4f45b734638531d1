"""The options of `dslm adapters train`."""

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer


class Method(StrEnum):
    """How an adapter learns, as the command line knows it."""

    lora = "lora"
    rslora = "rslora"
    qlora = "qlora"
    continued = "continued"
    dpo = "dpo"
    full = "full"


class Tracker(StrEnum):
    """Where else progress is told, as the command line knows it."""

    none = "none"
    wandb = "wandb"
    mlflow = "mlflow"


Rows = Annotated[Path, typer.Option(help="training rows, JSON lines; see `dslm data`")]
Name = Annotated[str, typer.Option(help="the adapter's name; a known one gets a new version")]
How = Annotated[
    Method,
    typer.Option(
        help="qlora: four-bit base; continued: plain text; dpo: preferences; full: a base"
    ),
]
HeldOut = Annotated[Path | None, typer.Option(help="held out; ends a run that gains nothing")]
Demonstrations = Annotated[
    int, typer.Option(min=0, help="show up to so many, retrieved, never the row itself")
]
Passages = Annotated[int, typer.Option(min=0, help="show so many, retrieved, around the row's own")]
Absent = Annotated[
    float, typer.Option(min=0.0, max=1.0, help="share shown only others, to be refused")
]
Rank = Annotated[int, typer.Option(min=1, help="LoRA rank")]
Alpha = Annotated[int | None, typer.Option(min=1, help="strength; else twice the rank")]
Steps = Annotated[int | None, typer.Option(min=1, help="optimiser steps; else epochs")]
Epochs = Annotated[float, typer.Option(min=0.01, help="passes over the rows")]
Batch = Annotated[int, typer.Option(min=1, help="rows at once")]
Accumulate = Annotated[int, typer.Option(min=1, help="batches to a step")]
Rate = Annotated[float | None, typer.Option(min=0.0, help="learning rate; else the family's")]
Patience = Annotated[int, typer.Option(min=1, help="checks without gain before the end")]
Seed = Annotated[int, typer.Option(help="same seed, same adapter")]
Out = Annotated[Path | None, typer.Option(help="folder of the base that --method full makes")]
Track = Annotated[Tracker, typer.Option(help="tell progress to it too, if it is installed")]
DryRun = Annotated[bool, typer.Option("--dry-run", help="show what would be learned, no more")]
