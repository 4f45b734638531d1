"""`dslm bench search`: its options. What it measures is imported once it is asked for."""

import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console

from eval.progress import say
from eval.report import show
from indexer.errors import BadInput

if TYPE_CHECKING:
    from eval.bench.search_vectors import VectorSet

# What retrieval adds is asked at this size: a million texts take a quarter of an hour to write.
_WHOLE = 100_000
_KINDS = ("flat", "fp16", "ivf-sq8", "ivf-rabitq")


def search(
    sizes: Annotated[str, typer.Option(help="numbers of chunks, by commas")] = "100000",
    dimension: Annotated[int, typer.Option(min=8, help="of the synthetic vectors")] = 384,
    questions: Annotated[int, typer.Option(min=10, help="searches of each index")] = 400,
    kinds: Annotated[str, typer.Option(help="of index, by commas")] = ",".join(_KINDS),
    vectors: Annotated[Path | None, typer.Option(help=".npy [n, dimension] of real ones")] = None,
    passages: Annotated[int, typer.Option(min=0, help="to embed where none; 0: none")] = 2000,
    whole: Annotated[bool, typer.Option(help="also what retrieval adds to embedding")] = True,
) -> None:
    """p50, p99 and searches a second against bare FAISS, and what each kind of index costs.

    Over made-up vectors and over real ones, which are replicated with noise up to the size.

    Example: python -m eval.bench search --sizes 100000,1000000
    """
    from eval.bench import search as search_bench

    numbers = [_size(part) for part in sizes.split(",")]
    wanted = tuple(_kind(part.strip()) for part in kinds.split(","))
    results = []
    with tempfile.TemporaryDirectory(prefix="dslm-bench-") as folder:
        for number in numbers:
            for make in _sets(number, dimension, questions, vectors, passages):
                results += search_bench.measure(make(), wanted, Path(folder), say)
        grids = search_bench.grids(results)
        if whole:
            from eval.bench.search_whole import measure

            grids.append(measure(min(*numbers, _WHOLE), dimension, Path(folder), say))
    console = Console()
    console = console if console.is_terminal else Console(width=190)
    for grid in grids:
        show(console, grid)


def _sets(
    count: int, dimension: int, questions: int, vectors: Path | None, passages: int
) -> Iterator[Callable[[], "VectorSet"]]:
    """One after another, so that only one is in memory."""
    from eval.bench import search_vectors as made

    yield lambda: made.synthetic(count, dimension, questions)
    if vectors:
        yield lambda: made.stored(vectors, count, questions)
    elif passages and made.MEDQUAD.is_file():
        yield lambda: made.embedded(passages, count, questions)
    elif passages:
        say("no real vectors: there is no MedQuAD beside this repository; give some by --vectors")


def _size(part: str) -> int:
    if not part.strip().isdecimal() or int(part) < 1000:
        raise BadInput(f"--sizes: {part!r} is not a number of chunks", "Give numbers from 1000 on")
    return int(part)


def _kind(part: str) -> str:
    if part not in _KINDS:
        raise BadInput(f"--kinds: {part!r} is no kind of index", f"Known: {', '.join(_KINDS)}")
    return part
