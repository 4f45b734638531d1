"""The command `dslm adapters train`."""

import contextlib
import hashlib
import tempfile
from collections.abc import Iterator
from dataclasses import replace
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from adapters.command_line import DomainName, Workplace, workplace
from adapters.training.showing import report_training, show
from indexer.errors import BadInput, NotFound

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

    from adapters.base import BaseProfile
    from adapters.training.lora import Lesson
    from adapters.training.settings import Progress, TrainSettings
    from adapters.training.shots import ShotSettings
    from adapters.training.train import Pose

EXAMPLES = (
    "adapters train support --rows my.jsonl --name my-style --steps 40 --rate 1e-3",
    "adapters train support --rows rows/train.jsonl --validation rows/validation.jsonl --name tone",
    "adapters train support --rows my.jsonl --name shown --demonstrations 4 --passages 4",
    "adapters train support --rows pairs.jsonl --name kinder --method dpo --rate 1e-5",
)


class Method(StrEnum):
    """How an adapter learns, as the command line knows it."""

    lora = "lora"
    rslora = "rslora"
    qlora = "qlora"
    continued = "continued"
    dpo = "dpo"


class Tracker(StrEnum):
    """Where else progress is told, as the command line knows it."""

    none = "none"
    wandb = "wandb"
    mlflow = "mlflow"


Rows = Annotated[Path, typer.Option(help="training rows, JSON lines; see `dslm data`")]
Name = Annotated[str, typer.Option(help="the adapter's name; a known one gets a new version")]
How = Annotated[
    Method, typer.Option(help="qlora: four-bit base; continued: plain text; dpo: preferences")
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
Rate = Annotated[float, typer.Option(min=0.0, help="learning rate")]
Patience = Annotated[int, typer.Option(min=1, help="checks without gain before the end")]
Seed = Annotated[int, typer.Option(help="same seed, same adapter")]
Track = Annotated[Tracker, typer.Option(help="tell progress to it too, if it is installed")]
DryRun = Annotated[bool, typer.Option("--dry-run", help="show what would be learned, no more")]


def train(
    context: typer.Context,
    domain: DomainName,
    rows: Rows,
    name: Name,
    method: How = Method.lora,
    validation: HeldOut = None,
    demonstrations: Demonstrations = 0,
    passages: Passages = 0,
    absent: Absent = 0.2,
    rank: Rank = 16,
    alpha: Alpha = None,
    steps: Steps = None,
    epochs: Epochs = 3.0,
    batch: Batch = 8,
    accumulate: Accumulate = 1,
    rate: Rate = 2e-4,
    patience: Patience = 3,
    seed: Seed = 0,
    tracker: Track = Tracker.none,
    dry_run: DryRun = False,
) -> None:
    """Train a LoRA adapter in the domain's prompt format, and store it.

    Three rows are shown first, as tokens seen and tokens learned. A run that was killed goes on
    with the same command.
    """
    from adapters.training.extras import admit_extras
    from adapters.training.settings import TrainSettings
    from adapters.training.shots import ShotSettings

    place = workplace(context)
    _lint(rank, place)
    admit_extras(method.value)
    answer = place.domain(domain).answer
    wanted = TrainSettings(
        base=place.base,
        rows=rows,
        out=Path(name),
        name=name,
        method=method.value,
        prompt_format=answer.prompt_format,
        system=answer.system,
        refusal=answer.refusal,
        rank=rank,
        alpha=alpha or 2 * rank,
        steps=steps,
        epochs=epochs,
        batch=batch,
        accumulate=accumulate,
        learning_rate=rate,
        validation=validation,
        patience=patience,
        seed=seed,
        answer_tokens=answer.max_tokens if demonstrations or passages else None,
    )
    shots = ShotSettings(demonstrations, passages, absent, seed=seed)
    label = _train_and_add(place, domain, wanted, shots, tracker, dry_run=dry_run)
    typer.echo(label or "Nothing was trained")


def _train_and_add(
    place: Workplace,
    domain: str,
    wanted: "TrainSettings",
    shots: "ShotSettings",
    tracker: Tracker,
    *,
    dry_run: bool,
) -> str | None:
    """The new version's label and digest; None after a dry run."""
    from adapters.base import BaseProfile
    from adapters.registry import AdapterRegistry

    base = BaseProfile.read(place.base)
    run = _run_folder(place, wanted, shots, base)
    with tempfile.TemporaryDirectory(prefix="dslm-train-") as folder:
        there = replace(wanted, run=run, out=Path(folder) / wanted.name)
        made = _train(place, domain, there, shots, Tracker.none if dry_run else tracker, dry_run)
        if made is None:
            return None
        registry = AdapterRegistry(place.paths)
        added = registry.add(made, wanted.name, base=base, max_rank=place.max_rank)
    return f"{added.label} {added.digest[:12]}"


class _Enough(Exception):
    """A dry run has shown what it should."""


def _train(
    place: Workplace,
    domain: str,
    wanted: "TrainSettings",
    shots: "ShotSettings",
    tracker: Tracker,
    dry_run: bool,
) -> Path | None:
    from adapters.training.tracking import tracking
    from adapters.training.train import train_adapter

    def preview(lessons: "list[Lesson]", tokenizer: "PreTrainedTokenizerBase") -> None:
        show(lessons, tokenizer)
        if dry_run:
            raise _Enough

    with (
        tracking(tracker.value, wanted) as track,
        _posing(place, domain, wanted, shots) as pose,
    ):

        def report(progress: "Progress") -> None:
            report_training(progress)
            track(progress)

        try:
            return train_adapter(wanted, report, pose, preview)
        except _Enough:
            return None


def _lint(rank: int, place: Workplace) -> None:
    """What the engine would refuse is said before hours of training."""
    if rank > place.max_rank:
        raise BadInput(
            f"The engine takes ranks up to {place.max_rank}, this adapter would have {rank}",
            f"Give --rank {place.max_rank}, or raise DSLM_MAX_LORA_RANK",
        )


def _run_folder(
    place: Workplace, wanted: "TrainSettings", shots: "ShotSettings", base: "BaseProfile"
) -> Path:
    """The same for the same command over the same rows and base, so that it finds its state."""
    files = [
        path.read_bytes() for path in (wanted.rows, wanted.validation) if path and path.is_file()
    ]
    digests = [hashlib.sha256(content).hexdigest() for content in files]
    told = repr((wanted, shots, base.digest, digests))
    return place.paths.root / "training" / hashlib.sha256(told.encode()).hexdigest()[:16]


@contextlib.contextmanager
def _posing(
    place: Workplace, domain: str, wanted: "TrainSettings", shots: "ShotSettings"
) -> "Iterator[Pose | None]":
    """The live snapshot, opened where rows are to be shown what it holds."""
    if not shots.demonstrations and not shots.passages:
        yield None
        return
    from adapters.base import BaseProfile
    from adapters.lookup import open_lookup
    from adapters.release import ReleaseStore
    from adapters.training.lessons import rendering_of
    from adapters.training.shots import Shots

    release = ReleaseStore(place.paths).live(place.domain(domain).name)
    if release is None:
        raise NotFound(f"{domain} has no live release", f"Run `dslm index {domain}` first")
    rendering = rendering_of(wanted, BaseProfile.read(place.base), frozenset())
    with open_lookup(place.paths, release) as lookup:
        yield Shots(lookup, rendering, shots).pose
