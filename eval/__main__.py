"""`python -m eval`: what the running service gets right, as tables with the aims beside."""

import asyncio
import json
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from datetime import UTC, datetime
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console

from eval import heldout as heldout_task
from eval import labels as labels_task
from eval import retrieval as retrieval_task
from eval.answer_commands import conversations, injection
from eval.client import Client
from eval.families.command import families
from eval.heldout import Outcome
from eval.jobs import jobs as jobs_drill
from eval.labels import LabelScore, LabelSettings
from eval.loaders import loaders as loaders_measure
from eval.progress import say
from eval.questions import read_all_questions
from eval.report import Grid, heldout_grid, label_grid, read_card, show, write_card
from eval.rolling_command import rolling
from eval.running import ROOT, Running, end_like_ctrl_c, running_service, wait_ready
from eval.trained_command import adapters
from indexer.domain import EmbedderSettings
from indexer.errors import BadInput, DslmError

URL = "http://127.0.0.1:8080"
DEMO = ROOT / "deploy" / "demo"
CARD = DEMO / "MODEL_CARD.md"
USUAL = LabelSettings()


class Dtype(StrEnum):
    """Number formats of an embedding model, as the command line knows them."""

    auto = "auto"
    fp32 = "fp32"
    bf16 = "bf16"


app = typer.Typer(
    help=__doc__, no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False
)

app.command()(adapters)
app.command()(conversations)
app.command()(families)
app.command()(injection)
app.command()(jobs_drill)
app.command()(loaders_measure)
app.command()(rolling)

Address = Annotated[str, typer.Option(help="address of the running service")]
Domains = Annotated[Path, typer.Option(help="folder with one folder per domain")]
Output = Annotated[Path | None, typer.Option("--json", help="write every outcome to this file")]
Parallel = Annotated[int, typer.Option(min=1, help="questions in flight")]
Rows = Annotated[int, typer.Option(min=1, help="test rows of banking77")]
Seed = Annotated[int, typer.Option(help="seed of the rows drawn")]


@app.command()
def heldout(
    url: Address = URL,
    domains: Domains = DEMO / "domains",
    output: Output = None,
    parallel: Parallel = 4,
) -> None:
    """Ask the held-out questions in each answer mode.

    Example: python -m eval heldout --url http://127.0.0.1:8080 --json heldout.json
    """
    outcomes = asyncio.run(_heldout(url, domains, parallel))
    _show(heldout_grid(heldout_task.tallies(outcomes)))
    _write(output, {"heldout": [asdict(o) for o in outcomes]})


@app.command()
def labels(
    folder: Annotated[Path, typer.Option("--data", help="folder with train.jsonl and test.jsonl")],
    url: Address = URL,
    rows: Rows = USUAL.rows,
    seed: Seed = USUAL.seed,
    output: Output = None,
    parallel: Parallel = 4,
) -> None:
    """Measure banking77 label accuracy with no, retrieved and random demonstrations.

    Example: python -m eval labels --data banking77 --rows 200
    """
    scores = asyncio.run(_labels(url, folder, LabelSettings(rows=rows, seed=seed), parallel))
    _show(label_grid(scores))
    _write(output, {"labels": [asdict(s) for s in scores]})


@app.command()
def demo(
    url: Annotated[str | None, typer.Option(help="a running service; none: one is started")] = None,
    domains: Domains = DEMO / "domains",
    card: Annotated[Path, typer.Option(help="Markdown file with the two markers")] = CARD,
    folder: Annotated[
        Path | None, typer.Option("--data", help="folder of banking77; none: not measured")
    ] = None,
    rows: Rows = USUAL.rows,
    seed: Seed = USUAL.seed,
    output: Output = None,
    parallel: Parallel = 4,
) -> None:
    """Measure everything and write the tables into the model card.

    Example: python -m eval demo --data banking77
    """
    settings = LabelSettings(rows=rows, seed=seed)
    read_card(card)  # minutes of measuring are not to end in a card that cannot be written
    with _service(url) as address:
        outcomes = asyncio.run(_heldout(address, domains, parallel))
        scores = asyncio.run(_labels(address, folder, settings, parallel)) if folder else []
    grids = [heldout_grid(heldout_task.tallies(outcomes))]
    grids += [label_grid(scores)] if scores else []
    _show(*grids)
    found = {"heldout": [asdict(o) for o in outcomes], "labels": [asdict(s) for s in scores]}
    _write(output, found)
    write_card(card, grids, f"Measured on {datetime.now(UTC):%Y-%m-%d} by `make heldout`.")
    say(f"written to {card}")


@app.command()
def retrieval(
    data: Annotated[Path, typer.Option(help="folder with scifact, stsbenchmark and limit_small")],
    embedder: Annotated[str, typer.Option(help="embedding model")] = EmbedderSettings().name,
    dtype: Annotated[Dtype, typer.Option(help="number format of its weights")] = Dtype.auto,
    cache: Annotated[Path | None, typer.Option(help="folder that keeps the vectors")] = None,
    beir: Annotated[
        list[Path] | None, typer.Option(help="another set in BEIR's form; may be repeated")
    ] = None,
    output: Output = None,
) -> None:
    """Measure retrieval on public sets beside published numbers; 1 if one is missed.

    Example: python -m eval retrieval --data ../shared/data --cache /tmp/vectors --beir nfcorpus
    """
    from indexer.embedding.embedder import Embedder  # takes seconds, and only this needs it

    loaded = Embedder(EmbedderSettings(name=embedder, dtype=dtype.value))
    lines = retrieval_task.measure(data, embedder, loaded, cache, beir or ())
    _show(retrieval_task.grid(lines, f"Retrieval of whole documents, {embedder}"))
    _write(output, {"retrieval": [asdict(line) for line in lines]})
    raise typer.Exit(int(any(line.missed for line in lines)))


def main() -> None:
    """Exit code: the error's own; else 0, or 1 where a published number was missed."""
    end_like_ctrl_c()
    try:
        app()
    except DslmError as error:
        say(f"error: {error}")
        sys.exit(error.exit_code)


async def _heldout(url: str, domains: Path, parallel: int) -> list[Outcome]:
    questions = read_all_questions(domains)
    async with Client(url, concurrency=parallel) as client:
        return await heldout_task.ask_all(client, questions)


async def _labels(
    url: str, folder: Path, settings: LabelSettings, parallel: int
) -> list[LabelScore]:
    async with Client(url, concurrency=parallel) as client:
        return await labels_task.measure(client, folder, settings)


@contextmanager
def _service(url: str | None) -> Iterator[str]:
    """The service at `url`, or one started for this block."""
    if url:
        yield url
        return
    with tempfile.TemporaryDirectory(prefix="dslm-eval-") as folder:
        with running_service(Path(folder)) as own:
            asyncio.run(_ready(own))
            yield own.url


async def _ready(own: Running) -> None:
    say("starting a service of its own")
    async with Client(own.url) as client:
        took = await wait_ready(client, own.process, own.log, report=say)
    say(f"ready after {took:.0f} s")


def _show(*grids: Grid) -> None:
    console = Console()
    # A pipe has no width of its own, and a table squeezed into 80 columns cannot be read.
    console = console if console.is_terminal else Console(width=230)
    for grid in grids:
        show(console, grid)


def _write(output: Path | None, found: dict[str, Any]) -> None:
    if output is None:
        return
    try:
        output.write_text(json.dumps(found, indent=1), encoding="utf-8")
    except OSError as error:
        raise BadInput(f"{output} cannot be written: {error.strerror}", "Check --json") from error


if __name__ == "__main__":
    main()
