"""`python -m eval adapters`: its options, and the service it starts."""

import asyncio
import json
import tempfile
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from eval.client import Client
from eval.progress import say
from eval.report import show
from eval.running import Running, running_service, wait_ready
from eval.trained import (
    Arm,
    Material,
    Trained,
    TrialSettings,
    ask_all,
    grids,
    index,
    read_material,
    train,
    write_workplace,
)
from indexer.errors import BadInput

_USUAL = TrialSettings(Path())

Few = Annotated[int, typer.Option(min=0, help="labels, drawn; 0: all")]
Rows = Annotated[int, typer.Option(min=0, help="rows learned, drawn; 0: all")]
Tests = Annotated[int, typer.Option(min=0, help="rows asked, drawn; 0: all")]
Output = Annotated[Path | None, typer.Option("--json", help="write every answer to this file")]


def adapters(
    folder: Annotated[Path, typer.Option("--data", help="folder with train.jsonl and test.jsonl")],
    labels: Few = _USUAL.labels,
    rows: Rows = _USUAL.rows,
    tests: Tests = _USUAL.tests,
    demonstrations: Annotated[
        int, typer.Option(min=0, help="solved examples before each question")
    ] = _USUAL.shots,
    seeds: Annotated[int, typer.Option(min=1, help="trainings, seeds 1 to this")] = 3,
    method: Annotated[str, typer.Option(help="of `dslm adapters train`")] = _USUAL.method,
    steps: Annotated[int, typer.Option(min=1, help="of a training")] = _USUAL.steps,
    batch: Annotated[int, typer.Option(min=1, help="rows at once")] = _USUAL.batch,
    rate: Annotated[float, typer.Option(min=0.0, help="learning rate")] = _USUAL.rate,
    rank: Annotated[int, typer.Option(min=1, help="LoRA rank")] = _USUAL.rank,
    output: Output = None,
    parallel: Annotated[int, typer.Option(min=1, help="questions in flight")] = 16,
) -> None:
    """Train adapters on labels, release each, ask before and after through the service.

    Starts a service of its own over an empty store; DSLM_BASE names another base.

    Example: python -m eval adapters --data banking77 --labels 10 --steps 600
    """
    settings = TrialSettings(
        folder,
        labels,
        rows,
        tests,
        demonstrations,
        tuple(range(1, seeds + 1)),
        method,
        steps,
        batch,
        rate,
        rank,
    )
    material = read_material(settings)
    say(
        f"{len(material.labels)} labels, {len(material.learned)} rows to learn in {steps} steps of"
        f" {batch}, {demonstrations} shown, {len(material.asked)} to ask, {seeds} seeds"
    )
    with tempfile.TemporaryDirectory(prefix="dslm-eval-") as place:
        trained, arms = _run(settings, material, Path(place), parallel)
    console = Console()
    console = console if console.is_terminal else Console(width=170)
    for grid in grids(arms, trained, material):
        show(console, grid)
    _write(output, settings, material, arms)


def _run(
    settings: TrialSettings, material: Material, folder: Path, parallel: int
) -> tuple[list[Trained], list[Arm]]:
    """Training first: it and an engine would take each other's cores."""
    environment = write_workplace(material, folder, settings.shots)
    index(environment)
    trained = [train(settings, seed, folder, environment) for seed in settings.seeds]
    with running_service(folder, environment) as own:
        return trained, asyncio.run(_ask(own, settings, material, trained, parallel))


async def _ask(
    own: Running,
    settings: TrialSettings,
    material: Material,
    trained: list[Trained],
    parallel: int,
) -> list[Arm]:
    say("starting a service of its own")
    async with Client(own.url, concurrency=parallel) as client:
        await wait_ready(client, own.process, own.log, report=say)
        return await ask_all(client, material, trained, settings.shots)


def _write(
    output: Path | None, settings: TrialSettings, material: Material, arms: list[Arm]
) -> None:
    if output is None:
        return
    found = {
        "settings": {**asdict(settings), "folder": settings.folder.name},
        "asked": [asdict(one) for one in material.asked],
        "arms": [asdict(arm) for arm in arms],
    }
    try:
        output.write_text(json.dumps(found, indent=1), encoding="utf-8")
    except OSError as error:
        raise BadInput(f"{output} cannot be written: {error.strerror}", "Check --json") from error
