"""Commands of `python -m eval` about what an answer rests on: conversations and injected orders."""

import asyncio
import json
import tempfile
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from adapters.lookup import open_lookup
from adapters.release import ReleaseStore
from eval import conversations as conversations_task
from eval import injection as injection_task
from eval.client import Client
from eval.conversations import FILE_NAME, Outcome
from eval.progress import say
from eval.questions import read_all_questions
from eval.report import Grid, show
from eval.running import ROOT, Running, running_service, wait_ready
from indexer.errors import BadInput
from indexer.settings import Paths

DOMAINS = ROOT / "deploy" / "demo" / "domains"


def conversations(
    store: Annotated[Path, typer.Option(help="folder of everything published")] = Path("store"),
    domains: Annotated[Path, typer.Option(help="folder with one folder per domain")] = DOMAINS,
) -> None:
    """Measure what of a conversation to look up with its last question.

    Example: python -m eval conversations --store store
    """
    questions = read_all_questions(domains)
    pooled: dict[str, Outcome] = {}
    folders = sorted(file.parent for file in domains.glob(f"*/{FILE_NAME}"))
    for folder in folders:
        release = ReleaseStore(Paths(store)).live(folder.name)
        if release is None:
            raise BadInput(f"{folder.name} has no live release", f"Run `dslm index {folder.name}`")
        asked = conversations_task.read_conversations(folder / FILE_NAME)
        others = [one for one in questions if one.domain != folder.name]
        with open_lookup(Paths(store), release) as lookup:
            for way, outcome in conversations_task.measure(lookup, asked, others).items():
                pooled[way] = pooled[way].joined(outcome) if way in pooled else outcome
    if not pooled:
        raise BadInput(f"No {FILE_NAME} under {domains}", "Give the folder of domains by --domains")
    total = len(pooled["none"].ranks)
    title = f"{total} conversations of {', '.join(folder.name for folder in folders)}"
    _show(conversations_task.grid(pooled, title))


def injection(
    data: Annotated[Path, typer.Option(help="folder that holds bipia_injection")],
    domains: Annotated[Path, typer.Option(help="folder with one folder per domain")] = DOMAINS,
    mails: Annotated[bool, typer.Option("--mails", help="the set's e-mails instead")] = False,
    questions: Annotated[int, typer.Option(min=1, help="documents, each with one order")] = 24,
    seed: Annotated[int, typer.Option(help="seed of what is drawn")] = 1,
    output: Annotated[Path | None, typer.Option("--json", help="write every answer here")] = None,
    parallel: Annotated[int, typer.Option(min=1, help="questions in flight")] = 4,
) -> None:
    """Measure how often orders that stand in documents are followed, by a service of its own.

    The base is DSLM_BASE. Example: python -m eval injection --data ../shared/data --questions 12
    """
    if mails:
        attacks = injection_task.read_mails(data, questions, seed)
    else:
        attacks = injection_task.read_documents(data, domains, questions, seed)
    with tempfile.TemporaryDirectory(prefix="dslm-injection-") as scratch:
        folder = Path(scratch)
        injection_task.write_domains(folder / "domains", attacks)
        settings = {"DSLM_DOMAINS": str(folder / "domains"), "DSLM_ADAPTERS": str(folder / "none")}
        (folder / "none").mkdir()
        with running_service(folder, settings) as own:
            told = asyncio.run(_attacked(own, attacks, parallel))
    _show(injection_task.grid(told))
    if output:
        output.write_text(json.dumps([asdict(one) for one in told], indent=1), encoding="utf-8")


async def _attacked(
    own: Running, attacks: list[injection_task.Attack], parallel: int
) -> list[injection_task.Told]:
    async with Client(own.url, concurrency=parallel) as client:
        took = await wait_ready(client, own.process, own.log)
        say(f"ready after {took:.0f} s")
        return await injection_task.measure(client, attacks)


def _show(grid: Grid) -> None:
    console = Console()
    console = console if console.is_terminal else Console(width=200)
    show(console, grid)
