"""How fast a whole indexing job is: beside the model itself and beside other programs.

All in one run, on the same files, with the same model and chunk size.
"""

import json
import os
import shutil
import statistics
import sys
import tarfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from eval.bench.indexing_child import DidNotRun, Took, run_child
from eval.bench.indexing_peers import PEERS, PeerRun, environments, install, run_peer
from eval.bench.indexing_raw import Raw
from eval.running import ROOT
from indexer.domain import EmbedderSettings
from indexer.errors import BadInput
from indexer.settings import Paths

_NAME = "bench"
_VECTOR_FILES = "*.faiss"


@dataclass(frozen=True, slots=True)
class IndexingSettings:
    """`files` of the documents, 0 for all; `raw` chunks to time the model itself on."""

    documents: Path
    files: int = 0
    tokens: int = 96
    embedder: EmbedderSettings = field(default_factory=EmbedderSettings)
    rounds: int = 2
    raw: int = 2000
    peers: tuple[str, ...] = tuple(peer.name for peer in PEERS)
    peer_dtypes: tuple[str, ...] = ("default",)


@dataclass(frozen=True, slots=True)
class JobRun:
    """One `dslm index` in a process of its own; `index_mb` of its vector index, in MiB.

    `chunks`: all that were made, also those that are like another one and are kept with it once.
    """

    chunks: int
    documents: int
    snapshot: str
    phases: dict[str, float]
    index_mb: float
    took: Took


@dataclass(slots=True)
class Measured:
    """What a bench saw; `failed` peers with the reason."""

    jobs: list[JobRun] = field(default_factory=list)
    raws: list[Raw] = field(default_factory=list)
    unchanged: JobRun | None = None
    one_changed: JobRun | None = None
    small: JobRun | None = None
    small_files: int = 0
    files: int = 0
    megabytes: float = 0.0
    peers: list[PeerRun] = field(default_factory=list)
    failed: list[tuple[str, str]] = field(default_factory=list)


def measure(settings: IndexingSettings, folder: Path, say: Callable[[str], None]) -> Measured:
    """Fresh stores under `folder`; jobs and the bare model take turns."""
    found = Measured()
    texts = _copy_documents(settings, folder / "documents")
    found.files = len(texts)
    found.megabytes = sum(file.stat().st_size for file in texts) / 1e6
    domain = _write_domain(folder / "domain", folder / "documents", settings)
    for number in range(settings.rounds):
        say(f"round {number + 1} of {settings.rounds}: the job, then the model alone")
        store = folder / f"store-{number}"
        found.jobs.append(_run_job(domain, store))
        found.raws.append(_run_raw(settings, store, found.jobs[-1].snapshot))
    say("again with nothing changed, then with one file changed")
    found.unchanged = _run_job(domain, store)
    with texts[len(texts) // 2].open("a", encoding="utf-8") as file:
        file.write("\nOne sentence stands here that did not stand here before.\n")
    found.one_changed = _run_job(domain, store)
    _measure_small(settings, folder, found, say)
    _measure_peers(settings, folder, found, say)
    return found


def _measure_small(
    settings: IndexingSettings, folder: Path, found: Measured, say: Callable[[str], None]
) -> None:
    """A tenth of the files: what does not grow with them is what memory is beside the index."""
    found.small_files = max(1, found.files // 10)
    say(f"{found.small_files} files, for the memory")
    few = folder / "few"
    for file in _spread(sorted((folder / "documents").rglob("*.md")), found.small_files):
        _link(file, few / file.relative_to(folder / "documents"))
    domain = _write_domain(folder / "domain-few", few, settings)
    found.small = _run_job(domain, folder / "store-few")


def _measure_peers(
    settings: IndexingSettings, folder: Path, found: Measured, say: Callable[[str], None]
) -> None:
    from indexer.embedding.weights import locate

    embedder = locate(settings.embedder.name)
    for peer in (peer for peer in PEERS if peer.name in settings.peers):
        try:
            say(f"{peer.name}: installing what is not there yet")
            python = install(peer, environments())
            for dtype in settings.peer_dtypes if peer.dtype else ("default",):
                say(f"{peer.name}: indexing ({dtype})")
                output = folder / f"{peer.name}-{dtype}"
                documents = folder / "documents"
                found.peers.append(
                    run_peer(peer, python, documents, output, embedder, settings.tokens, dtype)
                )
                shutil.rmtree(output, ignore_errors=True)
        except DidNotRun as error:
            say(f"{peer.name}: {error.message}")
            found.failed.append((peer.name, error.message))


def ratio(found: Measured) -> tuple[float, float]:
    """The job over the model alone, in chunks per second and per second of CPU time."""
    pairs = list(zip(found.jobs, found.raws, strict=True))
    return (
        statistics.median(job.chunks / job.took.seconds / raw.rate for job, raw in pairs),
        statistics.median(job.chunks / job.took.cpu / raw.cpu_rate for job, raw in pairs),
    )


def _copy_documents(settings: IndexingSettings, folder: Path) -> list[Path]:
    """Copies, since one of them is changed later on."""
    source = settings.documents
    if source.is_file():
        unpacked = folder.parent / "unpacked"
        with tarfile.open(source) as archive:
            archive.extractall(unpacked, filter="data")
        source = unpacked
    files = sorted(source.rglob("*.md")) if source.is_dir() else []
    if not files:
        raise BadInput(
            f"There are no Markdown files in {settings.documents}",
            "Give a folder or a .tar.gz that holds some by --documents",
        )
    wanted = _spread(files, settings.files or len(files))
    copies = []
    for file in wanted:
        copy = folder / file.relative_to(source)
        copy.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(file, copy)
        copies.append(copy)
    return copies


def _spread(files: Sequence[Path], count: int) -> list[Path]:
    """As many, from all over the list."""
    count = min(count, len(files))
    return [files[number * len(files) // count] for number in range(count)]


def _link(file: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    os.link(file, target)


def _write_domain(folder: Path, documents: Path, settings: IndexingSettings) -> Path:
    folder.mkdir(parents=True)
    embedder = settings.embedder
    lines = [
        f'name = "{_NAME}"',
        "[documents]",
        f"paths = [{json.dumps(str(documents))}]",
        "[demonstrations]",
        "paths = []",
        "[chunking]",
        f"tokens = {settings.tokens}",
        "[embedder]",
        f"name = {json.dumps(embedder.name)}",
        f'dtype = "{embedder.dtype}"',
        f'backend = "{embedder.backend}"',
    ]
    (folder / "domain.toml").write_text("\n".join(lines) + "\n", encoding="utf-8")
    return folder


def _run_job(domain: Path, store: Path) -> JobRun:
    command = [sys.executable, "-m", "dslm", "index", str(domain), "--json"]
    took = run_child(command, ROOT, {"DSLM_STORE": str(store)})
    result = next((event for event in _events(took.output) if event["event"] == "result"), None)
    if result is None:
        raise DidNotRun(f"`dslm index` printed no result: {took.output[-200:]!r}")
    snapshot = Paths(store).snapshot(_NAME, result["snapshot"])
    size = sum(file.stat().st_size for file in snapshot.rglob(_VECTOR_FILES))
    phases = {name: float(seconds) for name, seconds in result.get("phases", {}).items()}
    return JobRun(
        chunks=result["chunks"] + result["duplicates"],
        documents=result["documents"],
        snapshot=result["snapshot"],
        phases=phases,
        index_mb=size / 2**20,
        took=took,
    )


def _events(output: str) -> Iterator[dict[str, Any]]:
    for line in output.splitlines():
        if line.startswith("{"):
            yield json.loads(line)


def _run_raw(settings: IndexingSettings, store: Path, snapshot: str) -> Raw:
    arguments = [settings.embedder.model_dump_json(), str(settings.raw)]
    place = str(Paths(store).snapshot(_NAME, snapshot))
    command = [sys.executable, "-m", "eval.bench.indexing_raw", place, *arguments]
    last = run_child(command, ROOT).output.splitlines()[-1]
    return Raw(**json.loads(last))
