"""`python -m eval.bench`: speed as ratios to a peer, both measured in one run."""

import asyncio
import sys
import tempfile
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from eval.bench import swap as swap_bench
from eval.bench.adapters_command import adapters
from eval.bench.encoders_command import encoders
from eval.bench.indexing_command import backends, indexing
from eval.bench.search_command import search
from eval.bench.service_commands import COMMANDS
from eval.bench.swap import SwapSettings
from eval.bench.swap_load import CLIENTS, load_grid, under_load
from eval.bench.train_command import train
from eval.client import Client
from eval.progress import say
from eval.report import Grid, show
from eval.running import ROOT, end_like_ctrl_c, running_service, wait_ready
from indexer.errors import BadInput, DslmError

ADAPTERS = ROOT / "deploy" / "demo" / "adapters"
SWAP = SwapSettings()

app = typer.Typer(
    help=__doc__, no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False
)

app.command()(search)
app.command()(indexing)
app.command()(backends)
app.command()(train)
app.command()(adapters)
app.command()(encoders)


for command in COMMANDS:
    app.command()(command)


@app.command()
def swap(
    url: Annotated[str | None, typer.Option(help="a running service; none: one is started")] = None,
    engine_url: Annotated[str | None, typer.Option(help="that service's engine")] = None,
    rounds: Annotated[int, typer.Option(min=1, help="swaps of each kind")] = SWAP.rounds,
    adapters: Annotated[Path, typer.Option(help="folder of support-style-v1 and -v2")] = ADAPTERS,
) -> None:
    """Time from `PUT adapter` to an answer of the new version, against vLLM's own load.

    And how many answers fail while versions are swapped under load.

    With --url the live adapter of the domain changes back and forth, and is put back at the end.

    Example: python -m eval.bench swap --rounds 10
    """
    folders = tuple(adapters.resolve() / f"support-style-v{number}" for number in (1, 2))
    for folder in folders:
        if not folder.is_dir():
            raise BadInput(f"There is no adapter at {folder}", "Give their folder by --adapters")
    settings = SwapSettings(folders=(folders[0], folders[1]), rounds=rounds)
    if url and not engine_url:
        raise BadInput("--url needs --engine-url", "Give the address of that service's vLLM")
    if url and engine_url:
        _show(*asyncio.run(_swap(url, engine_url, settings)))
    else:
        _show(*_swap_own(settings))


def main() -> None:
    """Exit code: the error's own; 0 if all was measured."""
    end_like_ctrl_c()
    try:
        app()
    except DslmError as error:
        say(f"error: {error}")
        sys.exit(error.exit_code)


def _swap_own(settings: SwapSettings) -> tuple[Grid, Grid]:
    with tempfile.TemporaryDirectory(prefix="dslm-bench-") as folder:
        with running_service(Path(folder)) as own:

            async def measured() -> tuple[Grid, Grid]:
                say("starting a service of its own")
                async with Client(own.url) as client:
                    await wait_ready(client, own.process, own.log, report=say)
                return await _swap(own.url, own.engine_url, settings)

            return asyncio.run(measured())


async def _swap(url: str, engine_url: str, settings: SwapSettings) -> tuple[Grid, Grid]:
    async with Client(url, concurrency=CLIENTS) as service, Client(engine_url) as engine:
        timings = await swap_bench.measure(service, engine, settings)
        loaded = await under_load(service, settings)
    return swap_bench.grid(*timings), load_grid(*loaded)


def _show(*grids: Grid) -> None:
    console = Console()
    console = console if console.is_terminal else Console(width=150)
    for grid in grids:
        show(console, grid)


if __name__ == "__main__":
    main()
