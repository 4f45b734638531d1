"""What each backend and number format of one embedding model gains in speed and loses in quality.

Speed takes turns, a slice of the texts for each in every round, so that a busy machine is unkind
to all alike.
"""

import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from eval.report import Grid
from eval.retrieval_metrics import ndcg, spearman
from eval.retrieval_sets import Pairs, RetrievalSet, read_pairs, read_set
from indexer.domain import EmbedderSettings
from indexer.embedding.embedder import Embedder
from indexer.errors import BadInput
from indexer.records import Vectors

EVERY = (
    ("torch", "fp32"),
    ("torch", "bf16"),
    ("openvino", "fp32"),
    ("openvino", "bf16"),
    ("openvino", "int8"),
    ("onnx", "fp32"),
    ("onnx", "int8"),
)
_QUESTIONS = 20
_AT = 10


@dataclass(slots=True)
class Backend:
    """One of them; cosines are with torch in fp32, rates per second and per second of CPU."""

    name: str
    dtype: str
    rates: list[float] = field(default_factory=list)
    cpu_rates: list[float] = field(default_factory=list)
    question_ms: list[float] = field(default_factory=list)
    cosine: float = 0.0
    lowest: float = 0.0
    likeness: float | None = None
    ndcg: float | None = None


def measure(
    name: str, folder: Path, documents: int, rounds: int, say: Callable[[str], None]
) -> list[Backend]:
    """`folder` holds scifact and stsbenchmark; `documents` of SciFact besides the judged ones."""
    task = _subset(read_set(folder / "scifact"), documents)
    pairs = read_pairs(folder / "stsbenchmark" / "test.jsonl")
    opened = [(backend, _open(name, backend)) for backend in (Backend(*one) for one in EVERY)]
    timed = task.documents[:: max(1, len(task.documents) // (64 * rounds))]
    for number in range(rounds):
        say(f"speed, round {number + 1} of {rounds}")
        for backend, embedder in opened:
            _time(backend, embedder, timed[number::rounds], task.questions)
    reference: Vectors | None = None
    for backend, embedder in opened:
        say(f"quality of {backend.name} {backend.dtype}")
        found = embedder.embed_passages(task.documents)
        reference = found if reference is None else reference
        cosines = np.sum(found * reference, axis=1)
        backend.cosine, backend.lowest = float(cosines.mean()), float(cosines.min())
        backend.ndcg = _ndcg(task, found, embedder.embed_queries(task.questions))
        backend.likeness = _likeness(pairs, embedder)
    return [backend for backend, _ in opened]


def grid(found: Sequence[Backend], name: str, documents: int) -> Grid:
    """Speed as a ratio to torch in fp32, of the medians."""
    slowest = statistics.median(found[0].cpu_rates)
    rows = tuple(
        (
            f"{one.name} {one.dtype}",
            f"{statistics.median(one.rates):.1f}",
            f"{statistics.median(one.cpu_rates):.1f}",
            f"{statistics.median(one.cpu_rates) / slowest:.2f}x",
            f"{statistics.median(one.question_ms):.1f}",
            f"{one.cosine:.5f}",
            f"{one.lowest:.4f}",
            "" if one.likeness is None else f"{one.likeness:.4f}",
            "" if one.ndcg is None else f"{one.ndcg:.4f}",
        )
        for one in found
    )
    head = (
        "backend",
        "texts/s",
        "per s of CPU",
        "faster",
        "question ms",
        "mean cosine",
        "lowest",
        "STS-B",
        "nDCG@10",
    )
    return Grid(f"{name}; SciFact: {documents} abstracts beside the judged", head, rows)


def _open(name: str, backend: Backend) -> Embedder:
    values = {"name": name, "backend": backend.name, "dtype": backend.dtype}
    return Embedder(EmbedderSettings.model_validate(values), device="cpu")


def _subset(task: RetrievalSet, documents: int) -> RetrievalSet:
    """The judged documents, and others from all over the set."""
    judged = {row for grades in task.judged for row in grades}
    others = [row for row in range(len(task.documents)) if row not in judged]
    step = max(1, len(others) // documents) if documents else len(others) + 1
    kept = sorted([*judged, *others[::step][:documents]])
    place = {row: number for number, row in enumerate(kept)}
    if not kept:
        raise BadInput(f"{task.name} has no judged documents", "Give the folder by --sets")
    return RetrievalSet(
        name=task.name,
        documents=tuple(task.documents[row] for row in kept),
        questions=task.questions,
        judged=tuple(
            {place[row]: grade for row, grade in grades.items()} for grades in task.judged
        ),
    )


def _time(
    backend: Backend, embedder: Embedder, texts: Sequence[str], questions: Sequence[str]
) -> None:
    embedder.embed_passages(texts[:2])
    began, cpu = time.perf_counter(), time.process_time()
    embedder.embed_passages(texts)
    backend.rates.append(len(texts) / (time.perf_counter() - began))
    backend.cpu_rates.append(len(texts) / (time.process_time() - cpu))
    for question in questions[:_QUESTIONS]:
        began = time.perf_counter()
        embedder.embed_question(question)
        backend.question_ms.append(1e3 * (time.perf_counter() - began))


def _ndcg(task: RetrievalSet, documents: Vectors, questions: Vectors) -> float:
    ranked = np.argsort(-(questions @ documents.T), axis=1, kind="stable")[:, :_AT].tolist()
    pairs = zip(ranked, task.judged, strict=True)
    return statistics.mean(ndcg(rows, grades, _AT) for rows, grades in pairs)


def _likeness(pairs: Pairs, embedder: Embedder) -> float:
    first, second = embedder.embed_symmetric(pairs.first), embedder.embed_symmetric(pairs.second)
    return spearman(np.sum(first * second, axis=1).tolist(), pairs.scores)
