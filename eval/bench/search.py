"""Searching an index of vectors against bare FAISS with the same index, in turns in one run.

Each search is of one question, on one thread. Speed per core is by the processor's time, which a
busy machine does not stretch; what waits for memory is in it.
"""

import resource
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from eval.bench import search_gpu
from eval.bench.search_gpu import Batched
from eval.bench.search_vectors import VectorSet
from eval.report import Grid
from indexer.domain import IndexSettings
from indexer.index.marks import IndexMark
from indexer.index.vectors import MatrixSource, Rows, VectorIndex, build_index
from indexer.records import Vectors

NEAREST = 10
EXCLUDED = 1000
_WARM_UP = 20
# A scan of a million vectors takes a tenth of a second: 400 questions would take minutes a kind.
_ENOUGH_SECONDS = 60.0
_FEWEST = 50
_BLOCK = 10_000

Search = Callable[[Vectors], Rows]
Say = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Timings:
    """Of one search after another: milliseconds on the wall, and of the processor."""

    wall: tuple[float, ...]
    processor: tuple[float, ...]

    def percentile(self, of_hundred: float) -> float:
        return float(np.percentile(self.wall, of_hundred))

    @property
    def per_core(self) -> float:
        """Searches a second."""
        return 1000 * len(self.processor) / sum(self.processor)


@dataclass(frozen=True, slots=True)
class Measured:
    """One kind of index over one set of vectors."""

    vectors: str
    count: int
    asked: str
    mark: IndexMark
    built: float
    opened: float
    bytes: int
    recall: float
    ours: Timings
    bare: Timings
    filtered: Timings
    batched: tuple[Batched, ...]


def measure(vectors: VectorSet, kinds: tuple[str, ...], folder: Path, say: Say) -> list[Measured]:
    """Each kind in turn; its file is removed before the next is built."""
    say(f"{vectors.name}, {len(vectors.matrix):,}: what is really nearest")
    expected = nearest(vectors)
    results = []
    for kind in kinds:
        say(f"{vectors.name}, {len(vectors.matrix):,}: building {kind}")
        path = folder / "index.faiss"
        results.append(_measure_kind(vectors, kind, path, expected, say))
        path.unlink()
    return results


def nearest(vectors: VectorSet) -> Rows:
    """The ten rows that are really nearest to each question."""
    scores = np.empty((len(vectors.questions), 0), dtype=np.float32)
    rows = np.empty(scores.shape, dtype=np.int64)
    for start in range(0, len(vectors.matrix), _BLOCK):
        part = vectors.questions @ vectors.matrix[start : start + _BLOCK].T
        few = np.argpartition(-part, min(NEAREST, part.shape[1]) - 1, axis=1)[:, :NEAREST]
        scores = np.hstack([scores, np.take_along_axis(part, few, axis=1)])
        rows = np.hstack([rows, start + few])
        best = np.argsort(-scores, axis=1, kind="stable")[:, :NEAREST]
        scores = np.take_along_axis(scores, best, axis=1)
        rows = np.take_along_axis(rows, best, axis=1)
    return rows


def _measure_kind(vectors: VectorSet, kind: str, path: Path, expected: Rows, say: Say) -> Measured:
    settings = IndexSettings.model_validate({"kind": kind})
    start = time.perf_counter()
    mark = build_index(MatrixSource(vectors.matrix), settings, path)
    built = time.perf_counter() - start
    say(f"{vectors.name}, {len(vectors.matrix):,}: searching {mark.kind}, built in {built:.0f} s")
    start = time.perf_counter()
    index = VectorIndex.load(path, mark)
    opened = time.perf_counter() - start
    excluded = np.arange(0, len(vectors.matrix), max(1, len(vectors.matrix) // EXCLUDED))
    searches: list[Search] = [
        lambda question: index.search(question, NEAREST)[1],
        bare_search(path, mark),
        lambda question: index.search(question, NEAREST, excluded=excluded)[1],
    ]
    timings, found = in_turns(searches, vectors.questions)
    pairs = zip(found.tolist(), expected[: len(found)].tolist(), strict=True)
    hits = [len(set(one) & set(other)) for one, other in pairs]
    return Measured(
        vectors=vectors.name,
        count=len(vectors.matrix),
        asked=kind,
        mark=mark,
        built=built,
        opened=opened,
        bytes=path.stat().st_size,
        recall=float(np.mean(hits)) / NEAREST,
        ours=timings[0],
        bare=timings[1],
        filtered=timings[2],
        batched=search_gpu.beside(path, mark, vectors, bare_search(path, mark)),
    )


def bare_search(path: Path, mark: IndexMark) -> Search:
    """FAISS alone, with the same file and the same parameters, made once."""
    import faiss

    index = faiss.read_index(str(path))
    how = None
    if mark.kind.startswith("ivf"):
        how = faiss.SearchParametersIVF(nprobe=int(mark.parameters["probes"]))
    if mark.kind == "ivf-rabitq":
        factor = mark.parameters["refine"]
        how = faiss.IndexRefineSearchParameters(k_factor=factor, base_index_params=how)

    def search(question: Vectors) -> Rows:
        rows: Rows = index.search(question, NEAREST, params=how)[1]
        return rows

    return search


def in_turns(
    searches: list[Search], questions: Vectors, seconds: float = _ENOUGH_SECONDS
) -> tuple[list[Timings], Rows]:
    """Each question to each search, so that a busy moment falls on all; the first one's rows.

    After so many seconds no more than `_FEWEST` of the questions are asked.
    """
    end = time.perf_counter() + seconds
    wall: list[list[float]] = [[] for _ in searches]
    processor: list[list[float]] = [[] for _ in searches]
    found = []
    for number in range(-_WARM_UP, len(questions)):
        if number >= _FEWEST and time.perf_counter() > end:
            break
        question = questions[number % len(questions)][None]
        for turn in range(len(searches)):
            which = (turn + number) % len(searches)
            start, busy = time.perf_counter(), time.thread_time()
            rows = searches[which](question)
            busy, took = time.thread_time() - busy, time.perf_counter() - start
            if number >= 0:
                wall[which].append(took * 1000)
                processor[which].append(busy * 1000)
                if which == 0:
                    found.append(rows[0])
    timings = [Timings(tuple(w), tuple(p)) for w, p in zip(wall, processor, strict=True)]
    return timings, np.stack(found)


def grids(results: list[Measured]) -> list[Grid]:
    """Speed beside bare FAISS, what each kind costs and finds, and a GPU beside the processor."""
    batched = [one for result in results for one in result.batched]
    return [_speed(results), _kinds(results), *([search_gpu.grid(batched)] if batched else [])]


def _speed(results: list[Measured]) -> Grid:
    head = (
        "vectors",
        "chunks",
        "index",
        "p50 ms",
        "p99 ms",
        "bare p50",
        "bare p99",
        "p50 over bare",
        "QPS per core",
        "bare",
        "share",
        f"p50, {EXCLUDED:,} excluded",
    )
    rows = tuple(
        (
            *_name(one),
            f"{one.ours.percentile(50):.3f}",
            f"{one.ours.percentile(99):.3f}",
            f"{one.bare.percentile(50):.3f}",
            f"{one.bare.percentile(99):.3f}",
            f"{one.ours.percentile(50) / one.bare.percentile(50):.2f}x",
            f"{one.ours.per_core:,.0f}",
            f"{one.bare.per_core:,.0f}",
            f"{one.ours.per_core / one.bare.per_core:.2f}",
            f"{one.filtered.percentile(50):.3f}",
        )
        for one in results
    )
    return Grid("Search of one question for its ten nearest, one thread", head, rows)


def _kinds(results: list[Measured]) -> Grid:
    head = (
        "vectors",
        "chunks",
        "index",
        "MB per million chunks",
        "build s",
        "open ms",
        "recall@10",
        "recall in the mark",
        "parameters",
    )
    rows = tuple(
        (
            *_name(one),
            f"{one.bytes / one.count:,.0f}",
            f"{one.built:.1f}",
            f"{one.opened * 1000:.0f}",
            f"{one.recall:.3f}",
            "exact" if one.mark.recall is None else f"{one.mark.recall:.3f}",
            ", ".join(f"{name} {value}" for name, value in sorted(one.mark.parameters.items())),
        )
        for one in results
    )
    return Grid(f"What an index costs and finds; process peak {_peak_mb():,} MB", head, rows)


def _name(one: Measured) -> tuple[str, str, str]:
    kind = one.mark.kind if one.mark.kind == one.asked else f"{one.mark.kind} for {one.asked}"
    return one.vectors, f"{one.count:,}", kind


def _peak_mb() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
