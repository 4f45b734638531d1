"""Commands of `python -m eval` about what an answer rests on: conversations and injected orders."""

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from adapters.release import ReleaseStore
from eval import conversations as conversations_task
from eval.conversations import FILE_NAME, Outcome
from eval.lookup import open_lookup
from eval.questions import read_all_questions
from eval.report import show
from eval.running import ROOT
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
    console = Console()
    console = console if console.is_terminal else Console(width=200)
    total = len(pooled["none"].ranks)
    title = f"{total} conversations of {', '.join(folder.name for folder in folders)}"
    show(console, conversations_task.grid(pooled, title))
