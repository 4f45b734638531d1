"""Training beside a bare peft and transformers loop on the same rows, and what storing takes.

Both take turns in processes of their own; the medians and the paired ratios are of all rounds.
"""

from __future__ import annotations

import json
import random
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from eval.bench.indexing_child import run_child
from eval.bench.train_child import Job, Took
from eval.labels import Example, draw, read_examples, turns
from eval.report import Grid
from eval.running import ROOT
from eval.stats import Spread, paired_ratio

OURS, BARE = "ours", "bare"


@dataclass(frozen=True, slots=True)
class TrainBench:
    """`rows` of the folder's train.jsonl, each with none to `shots` others as earlier turns."""

    folder: Path
    base: str
    method: str = "lora"
    rows: int = 600
    shots: int = 4
    batch: int = 8
    rank: int = 16
    rounds: int = 3
    threads: int = 2
    seed: int = 1


@dataclass(frozen=True, slots=True)
class Stored:
    """Of one adapter: its size, and seconds to verify it and to store it, verification included."""

    megabytes: float
    verify: float
    add: float


@dataclass(frozen=True, slots=True)
class Measured:
    """Runs by who made them, in the order of the rounds."""

    runs: dict[str, list[Took]]
    stored: Stored


def measure(settings: TrainBench, report: Callable[[str], None]) -> Measured:
    """The first round of each only warms the machine's caches up."""
    runs: dict[str, list[Took]] = {OURS: [], BARE: []}
    with tempfile.TemporaryDirectory(prefix="dslm-bench-") as folder:
        place = Path(folder)
        write_rows(settings, place / "rows.jsonl")
        for turn in range(settings.rounds + 1):
            for who in (OURS, BARE) if turn % 2 else (BARE, OURS):
                took = _run(settings, who, place, turn)
                runs[who].append(took)
                speed = took.tokens / took.seconds
                report(f"round {turn}: {who} {speed:.0f} tokens/s, peak {took.peak_mb:.0f} MiB")
        stored = store(settings.base, place / f"out-{settings.rounds}", place / "store")
    return Measured({who: all_runs[1:] for who, all_runs in runs.items()}, stored)


def write_rows(settings: TrainBench, path: Path) -> None:
    """Rows of many lengths, as training with demonstrations makes them."""
    chance = random.Random(settings.seed)
    pool = read_examples(settings.folder / "train.jsonl")
    lines = []
    for one in draw(pool, settings.rows, chance):
        shown: list[Example] = chance.sample(pool, chance.randint(0, settings.shots))
        messages = [*turns(shown, one.text), {"role": "assistant", "content": one.label}]
        lines.append(json.dumps({"messages": messages}))
    path.write_text("\n".join(lines), encoding="utf-8")


def _run(settings: TrainBench, who: str, place: Path, turn: int) -> Took:
    job = Job(
        base=settings.base,
        rows=str(place / "rows.jsonl"),
        out=str(place / f"out-{turn}"),
        method=settings.method,
        rank=settings.rank,
        batch=settings.batch,
        rate=1e-3,
        threads=settings.threads,
        seed=settings.seed,
    )
    file = place / f"job-{who}-{turn}.json"
    file.write_text(json.dumps(asdict(job)), encoding="utf-8")
    command = [sys.executable, "-m", "eval.bench.train_child", who, str(file)]
    output = run_child(command, ROOT).output
    (told,) = [line for line in output.splitlines() if line.startswith("{")]
    return Took(**json.loads(told))


def store(base: str, adapter: Path, store_folder: Path, times: int = 5) -> Stored:
    """Medians over `times`; each is stored into a registry of its own."""
    from adapters.base import BaseProfile
    from adapters.registry import AdapterRegistry
    from adapters.verify import verify_adapter
    from indexer.settings import Paths

    profile = BaseProfile.read(base)
    checked, added = [], []
    for turn in range(times):
        began = time.perf_counter()
        verify_adapter(adapter, profile, 512)
        checked.append(time.perf_counter() - began)
        began = time.perf_counter()
        registry = AdapterRegistry(Paths(store_folder / str(turn)))
        registry.add(adapter, "bench", base=profile, max_rank=512)
        added.append(time.perf_counter() - began)
    size = sum(file.stat().st_size for file in adapter.iterdir()) / 1e6
    return Stored(size, statistics.median(checked), statistics.median(added))


def grids(settings: TrainBench, found: Measured) -> list[Grid]:
    """Speed and memory beside the bare loop, then what a version costs to take in."""
    return [_speed(settings, found.runs), _stored(found.stored)]


def _speed(settings: TrainBench, runs: dict[str, list[Took]]) -> Grid:
    ours, theirs = runs[OURS], runs[BARE]
    rows = []
    for name, taken in (("dslm adapters train", ours), ("bare peft + transformers", theirs)):
        rows.append(
            (
                name,
                Spread.of([one.tokens / one.seconds for one in taken]).show(0),
                Spread.of([one.peak_mb for one in taken]).show(0),
                Spread.of([one.peak_mb - one.before_mb for one in taken]).show(0),
                f"{taken[-1].told_mb:.0f}" if taken is ours else "-",
                f"{taken[-1].first_loss:.2f} to {taken[-1].last_loss:.2f}",
            )
        )
    rows.append(
        (
            "ours over bare (aim: 1.0 or more, memory 1.0 or less)",
            paired_ratio(_speeds(ours), _speeds(theirs)).show(),
            paired_ratio([one.peak_mb for one in ours], [one.peak_mb for one in theirs]).show(),
            paired_ratio(_added(ours), _added(theirs)).show(),
            "",
            "",
        )
    )
    title = (
        f"Training by {settings.method}, {settings.rows} rows of 0 to {settings.shots} examples,"
        f" {ours[0].tokens} tokens, batch {settings.batch}, rank {settings.rank},"
        f" {len(ours)} rounds: median (least to greatest)"
    )
    head = ("", "tokens/s", "peak MiB", "of it, since the first step", "told before", "loss")
    return Grid(title, head, tuple(rows))


def _speeds(runs: Sequence[Took]) -> list[float]:
    return [one.tokens / one.seconds for one in runs]


def _added(runs: Sequence[Took]) -> list[float]:
    """At least one MiB: a run that adds nothing has no ratio."""
    return [max(1.0, one.peak_mb - one.before_mb) for one in runs]


def _stored(stored: Stored) -> Grid:
    rows = [
        (name, f"{1000 * seconds:.1f}", f"{1000 * seconds / stored.megabytes:.2f}")
        for name, seconds in (("verified", stored.verify), ("verified and stored", stored.add))
    ]
    title = f"An adapter of {stored.megabytes:.1f} MB taken in, without the engine's probe"
    return Grid(title, ("", "ms", "ms per MB"), tuple(rows))
