"""The benches of the service itself and their options: `relay`, `json`, `retrieval`, `soak`."""

import asyncio
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from eval.bench.json_answers import JsonSettings
from eval.bench.relay import RelaySettings
from eval.bench.soak import SoakSettings
from eval.progress import say
from eval.report import Grid, markdown, show

RELAY, JSON, SOAK = RelaySettings(), JsonSettings(), SoakSettings()
AsMarkdown = Annotated[bool, typer.Option("--markdown", help="tables to paste")]
Rounds = Annotated[int, typer.Option(min=1, help="turns of each")]


def relay(
    rounds: Rounds = RELAY.rounds,
    chunks: Annotated[int, typer.Option(min=1, help="chunks of a stream")] = RELAY.chunks,
    streams: Annotated[int, typer.Option(min=1, help="streams at once")] = RELAY.streams,
    gap: Annotated[float, typer.Option(min=0, help="ms between two chunks")] = RELAY.gap,
    litellm: Annotated[bool, typer.Option(help="LiteLLM's proxy too, installed once")] = True,
    as_markdown: AsMarkdown = False,
) -> None:
    """CPU time per relayed chunk against bare httpx and aiohttp relays, and LiteLLM's proxy.

    Example: python -m eval.bench relay --rounds 5
    """
    from eval.bench.relay import grids, measure

    settings = RelaySettings(chunks, streams, rounds, gap, litellm=litellm)
    with _folder() as folder:
        series = asyncio.run(measure(settings, folder, say))
    show_all(grids(series, chunks), as_markdown)


def json(
    rounds: Rounds = JSON.rounds,
    requests: Annotated[int, typer.Option(min=1, help="of a turn")] = JSON.requests,
    at_once: Annotated[int, typer.Option(min=1, help="requests at once")] = JSON.at_once,
    as_markdown: AsMarkdown = False,
) -> None:
    """Whole answers per core against bare FastAPI, and gaps of streams beside long prompts.

    Example: python -m eval.bench json --rounds 5
    """
    from eval.bench.json_answers import grids, measure

    settings = JsonSettings(requests, at_once, rounds)
    with _folder() as folder:
        loads, gaps = asyncio.run(measure(settings, folder, say))
    show_all(grids(loads, gaps), as_markdown)


def retrieval(
    chunks: Annotated[int, typer.Option(min=100, help="of the snapshot")] = 100_000,
    questions: Annotated[int, typer.Option(min=1, help="of each kind")] = 200,
    at_once: Annotated[int, typer.Option(min=2, help="new questions at once")] = 16,
    as_markdown: AsMarkdown = False,
) -> None:
    """What retrieval and composition add to the first token; batches; the prefix cache's share.

    Example: python -m eval.bench retrieval --questions 300
    """
    from eval.bench import prefixes
    from eval.bench.retrieval_added import AddedSettings, grids, measure

    settings = AddedSettings(chunks, questions, at_once)
    with _folder() as folder:
        asked, rates = asyncio.run(measure(settings, folder, say))
    with _folder() as folder:
        cached = asyncio.run(prefixes.measure(folder, say))
    show_all([*grids(asked, rates, chunks), cached], as_markdown)


def soak(
    requests: Annotated[int, typer.Option(min=10, help="altogether")] = SOAK.requests,
    at_once: Annotated[int, typer.Option(min=1, help="requests at once")] = SOAK.at_once,
    starts: Annotated[int, typer.Option(min=1, help="starts to time")] = SOAK.starts,
    as_markdown: AsMarkdown = False,
) -> None:
    """Whether the service's memory is steady over many requests, and how fast it is ready.

    Example: python -m eval.bench soak --requests 20000
    """
    from eval.bench.soak import grids, measure

    with _folder() as folder:
        soaked = asyncio.run(measure(SoakSettings(requests, at_once, starts), folder, say))
    show_all(grids(soaked), as_markdown)


def show_all(tables: list[Grid], as_markdown: bool = False) -> None:
    """On a terminal, or for a page."""
    console = Console()
    console = console if console.is_terminal else Console(width=150)
    for grid in tables:
        if as_markdown:
            typer.echo(markdown(grid))
        else:
            show(console, grid)


@contextmanager
def _folder() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="dslm-bench-") as folder:
        yield Path(folder)


COMMANDS: tuple[Callable[..., None], ...] = (relay, json, retrieval, soak)
