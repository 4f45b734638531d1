"""`dslm bench train`: its options, and its tables."""

import os
from pathlib import Path
from typing import Annotated

import typer

from eval.bench.service_commands import AsMarkdown, show_all
from eval.progress import say
from eval.running import ROOT
from indexer.errors import BadInput

_BASE = ROOT / "deploy" / "demo" / "model"
_ROWS = Path("../shared/data/banking77")


def train(
    data: Annotated[Path, typer.Option(help="folder with train.jsonl: text and label")] = _ROWS,
    base: Annotated[Path, typer.Option(help="folder of the base")] = _BASE,
    method: Annotated[str, typer.Option(help="lora or qlora")] = "lora",
    rows: Annotated[int, typer.Option(min=8, help="rows learned, once")] = 600,
    shots: Annotated[int, typer.Option(min=0, help="earlier turns of a row, at most")] = 4,
    batch: Annotated[int, typer.Option(min=1, help="rows at once")] = 8,
    rank: Annotated[int, typer.Option(min=1, help="LoRA rank")] = 16,
    rounds: Annotated[int, typer.Option(min=1, help="turns of each")] = 3,
    threads: Annotated[int, typer.Option(min=0, help="0: one a core")] = 0,
    as_markdown: AsMarkdown = False,
) -> None:
    """Tokens per second and peak memory of training, beside a bare peft and transformers loop.

    And how long a version takes to be verified and stored, per megabyte.

    Example: python -m eval.bench train --rounds 5
    """
    from eval.bench.train import TrainBench, grids, measure

    if method not in ("lora", "qlora"):
        raise BadInput(f"There is no method {method!r} to compare", "Give lora or qlora")
    if not (data / "train.jsonl").is_file():
        raise BadInput(f"There is no train.jsonl in {data}", "Give its folder by --data")
    wanted = threads or len(os.sched_getaffinity(0))
    settings = TrainBench(data, str(base), method, rows, shots, batch, rank, rounds, threads=wanted)
    show_all(grids(settings, measure(settings, say)), as_markdown)
