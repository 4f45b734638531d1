"""`dslm bench indexing`: its options, and its tables."""

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console

from eval.progress import say
from eval.report import Grid, show
from indexer.domain import EmbedderSettings
from indexer.errors import BadInput

if TYPE_CHECKING:
    from eval.bench.indexing import JobRun, Measured

_DOCUMENTS = Path("../shared/data/rag_demo_docs/rag_demo_docs.tar.gz")
_SETS = Path("../shared/data")
_EVERY = "txtai,llamaindex,haystack,langchain"


def indexing(
    documents: Annotated[Path, typer.Option(help="folder or .tar.gz of Markdown")] = _DOCUMENTS,
    files: Annotated[int, typer.Option(min=0, help="how many of them; 0: all")] = 0,
    tokens: Annotated[int, typer.Option(min=8, help="of a chunk, at most")] = 96,
    rounds: Annotated[int, typer.Option(min=1, help="of the job and the bare model")] = 2,
    embedder: Annotated[str, typer.Option(help="embedding model, or a folder")] = (
        "all-MiniLM-L6-v2"
    ),
    backend: Annotated[str, typer.Option(help="torch, onnx or openvino")] = "torch",
    dtype: Annotated[str, typer.Option(help="auto, fp32, bf16 or int8")] = "auto",
    peers: Annotated[str, typer.Option(help="by commas; none: no other programs")] = _EVERY,
    peer_dtypes: Annotated[str, typer.Option(help="e.g. default,bfloat16")] = "default",
) -> None:
    """Chunks per second of a whole job, beside the model itself and beside other programs.

    The programs are installed under ~/.cache/dslm/peers when they are first asked for.

    Example: python -m eval.bench indexing --files 200
    """
    from eval.bench.indexing import IndexingSettings, measure

    wanted = () if peers == "none" else tuple(part.strip() for part in peers.split(","))
    unknown = [name for name in wanted if name not in _EVERY.split(",")]
    if unknown:
        raise BadInput(f"There is no peer {unknown[0]!r}", f"Known: {_EVERY}, or none")
    settings = IndexingSettings(
        documents=documents,
        files=files,
        tokens=tokens,
        embedder=_embedder(embedder, backend, dtype),
        rounds=rounds,
        peers=wanted,
        peer_dtypes=tuple(part.strip() for part in peer_dtypes.split(",")),
    )
    with tempfile.TemporaryDirectory(prefix="dslm-bench-") as folder:
        found = measure(settings, Path(folder), say)
    console = Console()
    console = console if console.is_terminal else Console(width=150)
    for grid in grids(found):
        show(console, grid)


def _embedder(name: str, backend: str, dtype: str) -> "EmbedderSettings":
    return EmbedderSettings.model_validate({"name": name, "backend": backend, "dtype": dtype})


def grids(found: "Measured") -> list[Grid]:
    """The job beside the model, beside other programs, and again."""
    return [_speed(found), *([_peers(found)] if found.peers or found.failed else []), _again(found)]


def _speed(found: "Measured") -> Grid:
    from eval.bench.indexing import ratio

    rows = []
    for number, (job, raw) in enumerate(zip(found.jobs, found.raws, strict=True), start=1):
        rate, cpu_rate = job.chunks / job.took.seconds, job.chunks / job.took.cpu
        of = f"{raw.dtype}, batch {raw.batch}, {raw.workers} workers"
        rows.append((f"{number}: the model alone ({of})", f"{raw.rate:.1f}", f"{raw.cpu_rate:.1f}"))
        rows.append((f"{number}: the whole job, {_job(job)}", f"{rate:.1f}", f"{cpu_rate:.1f}"))
    wall, cpu = ratio(found)
    rows.append(("job over model (aim: 0.95 or more)", f"{wall:.3f}", f"{cpu:.3f}"))
    title = f"Indexing {found.files} files, {found.megabytes:.1f} MB"
    return Grid(title, ("", "chunks/s", "chunks per s of CPU"), tuple(rows))


def _job(job: "JobRun") -> str:
    return f"{job.chunks} chunks in {job.took.seconds:.1f} s"


def _peers(found: "Measured") -> Grid:
    ours = min(found.jobs, key=lambda job: job.took.seconds)
    rate = ours.chunks / ours.took.seconds
    head = ("program", "chunks", "s", "s of CPU", "chunks/s", "peak MiB", "we, by chunks/s", "by s")
    took = ours.took
    first = ("dslm", ours.chunks, took.seconds, took.cpu, rate, took.peak_mb)
    rows = [(*_cells(*first), "", "")]
    for run in found.peers:
        name = run.name if run.dtype == "default" else f"{run.name}, {run.dtype}"
        took = run.took
        speed = run.chunks / took.seconds
        cells = _cells(name, run.chunks, took.seconds, took.cpu, speed, took.peak_mb)
        rows.append((*cells, f"{rate / speed:.2f}x", f"{took.seconds / ours.took.seconds:.2f}x"))
    rows += [(name, *[""] * 6, reason[:60]) for name, reason in found.failed]
    return Grid("End to end, beside other programs (aim: 3x or more each)", head, tuple(rows))


def _cells(
    name: str, chunks: int, seconds: float, cpu: float, rate: float, peak: float
) -> tuple[str, ...]:
    return (name, str(chunks), f"{seconds:.1f}", f"{cpu:.1f}", f"{rate:.1f}", f"{peak:.0f}")


def _again(found: "Measured") -> Grid:
    rows = []
    for name, run, aim in (
        ("nothing changed", found.unchanged, "under 2 s"),
        ("one file changed", found.one_changed, "under 3 s"),
    ):
        if run:
            rows.append((f"second run, {name}: s", f"{run.took.seconds:.2f}", aim))
    if found.small:
        large = max(found.jobs, key=lambda job: job.took.peak_mb)
        outside = [run.took.peak_mb - run.index_mb for run in (large, found.small)]
        name = f"peak MiB outside the index, {found.files} files over {found.small_files}"
        shown = f"{outside[0]:.0f} / {outside[1]:.0f} = {outside[0] / outside[1]:.2f}"
        rows.append((name, shown, "1.3 or less"))
    return Grid("Again, and memory", ("", "measured", "aim"), tuple(rows))


def backends(
    embedder: Annotated[str, typer.Option(help="embedding model, or a folder")] = (
        "all-MiniLM-L6-v2"
    ),
    sets: Annotated[Path, typer.Option(help="folder of scifact and stsbenchmark")] = _SETS,
    documents: Annotated[int, typer.Option(min=0, help="beside the judged ones")] = 700,
    rounds: Annotated[int, typer.Option(min=1, help="in which they take turns")] = 3,
) -> None:
    """Speed and loss of each backend and number format of an embedding model on this processor.

    Example: python -m eval.bench backends --documents 6000
    """
    from eval.bench.indexing_backends import grid, measure

    if not (sets / "scifact").is_dir():
        raise BadInput(f"There is no folder scifact in {sets}", "Give their folder by --sets")
    found = measure(embedder, sets, documents, rounds, say)
    console = Console()
    console = console if console.is_terminal else Console(width=150)
    show(console, grid(found, embedder, documents))
