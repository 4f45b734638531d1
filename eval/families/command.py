"""`python -m eval families`: every family of bases, from its architecture to vLLM's answers."""

import asyncio
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from eval.families.making import QUESTIONS, Made, make
from eval.families.serving import Served, serve
from eval.families.shapes import SHAPES, Shape
from eval.progress import say
from eval.report import Grid, markdown, show
from indexer.errors import BadInput, DslmError


def families(
    only: Annotated[
        list[str] | None, typer.Option(help="a family's name; all if not given")
    ] = None,
    train_only: Annotated[bool, typer.Option("--train-only", help="start no engine")] = False,
    options: Annotated[str, typer.Option(help="more vLLM arguments, as in a shell")] = "",
    output: Annotated[
        Path | None, typer.Option("--markdown", help="write the table to this file")
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="name the families, no more")] = False,
) -> None:
    """Train an adapter on a tiny base of each family, serve it by vLLM, compare with peft.

    An engine starts for each, half a minute on two cores. Exit code 1 if one is not served rightly.

    Example: python -m eval families --only "Gemma 2" --only Phi-3
    """
    shapes = _wanted(only or [])
    if dry_run:
        for shape in shapes:
            typer.echo(f"{shape.name}: {shape.special or 'as most'}")
        return
    rows, bad = [], 0
    for shape in shapes:
        with tempfile.TemporaryDirectory(prefix="dslm-family-") as folder:
            row, is_good = _row(shape, Path(folder), train_only, options)
        rows.append(row)
        bad += not is_good
        say(" | ".join(row))
    grid = Grid(f"{len(shapes)} families", HEAD, tuple(rows))
    show(Console(width=170), grid)
    if output:
        output.write_text(markdown(grid), "utf-8")
    raise typer.Exit(1 if bad else 0)


HEAD = (
    "family",
    "what is special",
    "loss",
    "modules",
    "moves the base by, nats",
    "vLLM from peft, nats",
    "rounding allows",
    "learned answers",
)


def _wanted(names: Sequence[str]) -> list[Shape]:
    known = {shape.name.casefold(): shape for shape in SHAPES}
    for name in names:
        if name.casefold() not in known:
            raise BadInput(
                f"There is no family {name!r} here", f"Known: {', '.join(s.name for s in SHAPES)}"
            )
    return [known[name.casefold()] for name in names] or list(SHAPES)


def _row(
    shape: Shape, folder: Path, train_only: bool, options: str
) -> tuple[tuple[str, ...], bool]:
    """One line of the table, and whether everything went well."""
    try:
        made = make(shape, folder)
        served = None if train_only else asyncio.run(serve(made, folder, options, _quiet))
    except DslmError as error:
        return (shape.name, shape.special, str(error), *[""] * (len(HEAD) - 3)), False
    return _cells(made, served), served is None or _is_good(served)


def _quiet(line: str) -> None:
    """The service's log is long; its end is told if it does not start."""


def _is_good(served: Served) -> bool:
    return not served.reading.fault and served.by_heart == len(QUESTIONS)


def _cells(made: Made, served: Served | None) -> tuple[str, ...]:
    record, known = made.card.training, made.card.fingerprint
    assert record is not None
    assert known is not None
    loss = f"{record.first_loss:.2f} to {record.last_loss:.2f}"
    modules = ", ".join(name.removesuffix("_proj") for name in made.facts.target_modules)
    head = (made.shape.name, made.shape.special, loss, modules, f"{known.effect:.2f}")
    if served is None:
        return (*head, "not asked", "", "")
    found = served.reading
    gap, allowed = found.gap or 0.0, found.allowed or 0.0
    answers = f"{served.by_heart} of {len(QUESTIONS)}"
    return (*head, f"{gap:.3f}", f"{allowed:.3f}", answers)
