"""An index on a GPU beside the same index on the processor's cores, for batches of questions."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import faiss

from eval.bench.search_vectors import VectorSet
from eval.report import Grid
from eval.stats import Spread, paired_ratio
from indexer.cores import cores
from indexer.index import gpu
from indexer.index.gpu import GpuSearch
from indexer.index.marks import IndexMark
from indexer.index.vectors import Rows
from indexer.records import Vectors

BATCHES = (1, 16, 256)
NEAREST = 10
_ROUNDS = 5

Search = Callable[[Vectors], Rows]


@dataclass(slots=True)
class Batched:
    """Milliseconds of a batch on either; `same`: the share of rows that both found."""

    kind: str
    count: int
    batch: int
    same: float = 0.0
    processor: list[float] = field(default_factory=list)
    gpu: list[float] = field(default_factory=list)


def beside(path: Path, mark: IndexMark, vectors: VectorSet, bare: Search) -> tuple[Batched, ...]:
    """Nothing without a GPU, or if the service would not search this index there."""
    count = len(vectors.matrix)
    if not gpu.searches(mark, count, gpu.count()):
        return ()
    return measure(mark.kind, count, vectors.questions, on_cores(bare), on_gpu(path, mark))


def on_gpu(path: Path, mark: IndexMark) -> Search:
    """A copy of the index there, searched as the service does."""
    there = GpuSearch(faiss.read_index(str(path)), mark)
    return lambda questions: there.search(questions, NEAREST)[1]


def on_cores(search: Search) -> Search:
    """With a thread on each core: the service gives a question one, a GPU all that it has."""

    def searched(questions: Vectors) -> Rows:
        before = faiss.omp_get_max_threads()
        faiss.omp_set_num_threads(cores())
        try:
            return search(questions)
        finally:
            faiss.omp_set_num_threads(before)

    return searched


def measure(
    kind: str, count: int, questions: Vectors, processor: Search, other: Search
) -> tuple[Batched, ...]:
    """In turns; the first of each only warms up."""
    found = []
    for batch in BATCHES:
        asked = questions[:batch]
        one = Batched(kind, count, len(asked))
        for turn in range(_ROUNDS + 1):
            near, took = _timed(processor, asked)
            far, there = _timed(other, asked)
            if turn:
                one.processor.append(took)
                one.gpu.append(there)
        pairs = zip(near.tolist(), far.tolist(), strict=True)
        shared = sum(len(set(rows) & set(others)) for rows, others in pairs)
        one.same = shared / max(1, near.size)
        found.append(one)
    return tuple(found)


def grid(found: Sequence[Batched]) -> Grid:
    """Milliseconds, and how many times as long the processor takes."""
    head = ("index", "chunks", "questions", "processor ms", "GPU ms", "ratio", "same rows")
    rows = tuple(
        (
            one.kind,
            f"{one.count:,}",
            str(one.batch),
            Spread.of(one.processor).show(3),
            Spread.of(one.gpu).show(3),
            paired_ratio(one.processor, one.gpu).show(),
            f"{one.same:.3f}",
        )
        for one in found
    )
    return Grid("The same index on all cores and on a GPU, ten nearest", head, rows)


def _timed(search: Search, questions: Vectors) -> tuple[Rows, float]:
    began = time.perf_counter()
    rows = search(questions)
    return rows, 1000 * (time.perf_counter() - began)
