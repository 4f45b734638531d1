"""The commands `dslm adapters`: read a line, call this room, print.

Training is imported only by the command that trains.
"""

import tempfile
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from adapters.command_line import DomainName, Workplace, examples, group, workplace
from adapters.merging.commands import EXAMPLES as MERGES
from adapters.merging.commands import merge_adapters

if TYPE_CHECKING:
    from adapters.registry import AdapterRegistry
    from adapters.training.train import Progress


class Format(StrEnum):
    """The prompt formats, as the command line knows them."""

    sentences = "sentences"
    passages = "passages"
    fenced = "fenced"


adapters_app = group("Adapter versions: list, show, add, train, merge.")
adapters_app.command("merge", epilog=examples(*MERGES))(merge_adapters)


def registry(place: Workplace) -> "AdapterRegistry":
    from adapters.registry import AdapterRegistry

    return AdapterRegistry(place.paths)


@adapters_app.command("list", epilog=examples("adapters list"))
def list_adapters(context: typer.Context) -> None:
    """Every adapter version in the store."""
    for found in registry(workplace(context)).list():
        created = f"{found.created:%Y-%m-%d}"
        row = (found.label, found.digest[:12], f"rank {found.rank}", found.prompt_format, created)
        typer.echo("  ".join((*row, found.note)).rstrip())


@adapters_app.command("show", epilog=examples("adapters show support-style@1"))
def show_adapter(
    context: typer.Context,
    adapter: Annotated[str, typer.Argument(help="name, name@version or a digest's beginning")],
) -> None:
    """One version's manifest, as JSON."""
    typer.echo(registry(workplace(context)).get(adapter).model_dump_json(indent=2))


@adapters_app.command("add", epilog=examples("adapters add out/my-style --name my-style"))
def add_adapter(
    context: typer.Context,
    folder: Annotated[Path, typer.Argument(help="a folder that PEFT saved")],
    name: Annotated[str | None, typer.Option(help="unless the folder's card says it")] = None,
    prompt_format: Annotated[
        Format | None, typer.Option(help="what it was trained with, unless its card says it")
    ] = None,
    note: Annotated[str | None, typer.Option(help="for people")] = None,
) -> None:
    """Verify an adapter against the base and store it as the next version of its name."""
    from adapters.base import BaseProfile

    place = workplace(context)
    added = registry(place).add(
        folder,
        name,
        base=BaseProfile.read(place.base),
        prompt_format=prompt_format.value if prompt_format else None,
        note=note,
        max_rank=place.max_rank,
    )
    typer.echo(f"{added.label} {added.digest[:12]}")


@adapters_app.command(
    "train",
    epilog=examples(
        "adapters train support --rows my.jsonl --name my-style --steps 40 --rate 1e-3"
    ),
)
def train(
    context: typer.Context,
    domain: DomainName,
    rows: Annotated[Path, typer.Option(help="solved examples, JSONL chat format")],
    name: Annotated[str, typer.Option(help="the adapter's name; a known one gets a new version")],
    rank: Annotated[int, typer.Option(min=1, help="LoRA rank")] = 16,
    steps: Annotated[int | None, typer.Option(min=1, help="optimiser steps; else epochs")] = None,
    epochs: Annotated[float, typer.Option(min=0.01, help="passes over the rows")] = 3.0,
    rate: Annotated[float, typer.Option(min=0.0, help="learning rate")] = 2e-4,
    seed: Annotated[int, typer.Option(help="same seed, same adapter")] = 0,
) -> None:
    """Train a LoRA adapter in the domain's prompt format, and store it."""
    from adapters.base import BaseProfile
    from adapters.training.train import TrainSettings, train_adapter

    place = workplace(context)
    answer, base = place.domain(domain).answer, BaseProfile.read(place.base)
    with tempfile.TemporaryDirectory(prefix="dslm-train-") as folder:
        wanted = TrainSettings(
            base=place.base,
            rows=rows,
            out=Path(folder) / name,
            name=name,
            prompt_format=answer.prompt_format,
            system=answer.system,
            rank=rank,
            alpha=2 * rank,
            steps=steps,
            epochs=epochs,
            learning_rate=rate,
            seed=seed,
        )
        trained = train_adapter(wanted, report_training)
        added = registry(place).add(trained, name, base=base, max_rank=place.max_rank)
    typer.echo(f"{added.label} {added.digest[:12]}")


def report_training(progress: "Progress") -> None:
    """Some forty lines a run, on stderr: the result alone goes to stdout."""
    if progress.step % max(1, progress.steps // 40) == 0:
        where = f"step {progress.step} of {progress.steps}, loss {progress.loss:.3f}"
        typer.echo(f"{where}, {progress.seconds_left:.0f} s left", err=True)
