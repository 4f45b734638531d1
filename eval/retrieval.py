"""Retrieval on public test sets, beside what others publish: our embedder, BM25 and fusion.

The ranking is that which serves answers; only chunking is left out, as the published numbers are
of whole documents.
"""

import hashlib
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

import numpy as np

from eval.progress import say
from eval.report import Grid
from eval.retrieval_metrics import ndcg, recall, reciprocal_rank, spearman
from eval.retrieval_sets import Pairs, RetrievalSet, read_pairs, read_set
from eval.stats import mean_interval
from indexer.domain import EmbedderSettings, IndexSettings, RetrievalSettings

if TYPE_CHECKING:
    from indexer.embedding.embedder import Embedder
    from indexer.index.lexical import LexicalIndex
    from indexer.index.vectors import VectorIndex
    from indexer.records import Vectors
    from indexer.search.ranking import Indexes, Question

Measured: TypeAlias = tuple[str, str]  # a mode and a metric
Aim: TypeAlias = tuple[str, tuple[float, float] | None]  # what is published, and the range

DEPTH = 1000
STS = "stsbenchmark"
BEST_OF_LIMIT = 0.98


def _mode(mode: Literal["dense", "lexical", "hybrid"], **how: Any) -> RetrievalSettings:
    """Deeper than any answer needs, and with nothing too unlike to be counted."""
    settings = RetrievalSettings(mode=mode, min_passage_score=-1.0, candidates=DEPTH, **how)
    return settings.model_copy(update={"passages": DEPTH})


MODES: Mapping[str, RetrievalSettings] = {
    "dense": _mode("dense"),
    "BM25": _mode("lexical"),
    "hybrid, rrf": _mode("hybrid", fusion="rrf"),
    "hybrid, minmax": _mode("hybrid", fusion="minmax"),
}
# nDCG@10 and R@100 on SciFact, whole documents: MTEB's results; for BM25 see `_scifact_aims`.
PUBLISHED: Mapping[str, tuple[float, float]] = {
    "all-MiniLM-L6-v2": (0.6451, 0.9250),
    "gtr-t5-base": (0.5974, 0.8637),
    "gtr-t5-large": (0.6342, 0.8937),
    "bge-small-en-v1.5": (0.7127, 0.9450),
    "bge-base-en-v1.5": (0.7435, 0.9627),
    "bge-large-en-v1.5": (0.7464, 0.9517),
}


@dataclass(frozen=True, slots=True)
class Line:
    """One measured number, what is published, and the range that it must lie in (None: none)."""

    task: str
    how: str
    metric: str
    value: float
    spread: tuple[float, float] | None
    published: str
    aim: tuple[float, float] | None

    @property
    def missed(self) -> bool:
        return self.aim is not None and not self.aim[0] <= round(self.value, 4) <= self.aim[1]


def measure(
    data: Path, name: str, embedder: "Embedder", cache: Path | None, others: Sequence[Path] = ()
) -> list[Line]:
    """Every number for the embedding model of this name; vectors are kept in `cache` if given.

    `others` are further sets in BEIR's form, of which nothing is published here.
    """
    say(f"embedding model {name}, {embedder.dtype} on {embedder.device}")
    with tempfile.TemporaryDirectory(prefix="dslm-retrieval-") as scratch:
        vectors = _Vectors(embedder, cache or Path(scratch))
        name = Path(name).name
        scifact = _set_lines(read_set(data / "scifact"), vectors, Path(scratch), name)
        pairs = _pair_line(read_pairs(data / STS / "test.jsonl"), vectors, name)
        small = _set_lines(read_set(data / "limit_small"), vectors, Path(scratch), name)
        further = [
            line
            for folder in others
            for line in _set_lines(read_set(folder), vectors, Path(scratch), name)
        ]
        return [*scifact, pairs, *small, *further]


def grid(lines: Sequence[Line], title: str) -> Grid:
    """The numbers with their aims beside."""
    head = ("task", "retrieval", "metric", "measured", "95 % interval", "published", "aim", "")
    return Grid(title, head, tuple(_cells(line) for line in lines))


def _cells(line: Line) -> tuple[str, ...]:
    spread = f"{line.spread[0]:.4f} to {line.spread[1]:.4f}" if line.spread else "-"
    aim, verdict = "-", ""
    if line.aim:
        low, high = line.aim
        aim = f"{low:.4f} or more" if high == 1 else f"{low:.4f} to {high:.4f}"
        aim = f"{high:.4f} or less" if low == 0 else aim
        verdict = "MISSED" if line.missed else "met"
    return (
        line.task,
        line.how,
        line.metric,
        f"{line.value:.4f}",
        spread,
        line.published or "-",
        aim,
        verdict,
    )


@dataclass(frozen=True, slots=True)
class _Pair:
    """Two indexes without a snapshot around them."""

    passages: "VectorIndex"
    lexical: "LexicalIndex"


class _Vectors:
    """Texts to vectors, kept as files: a second run need not embed again."""

    def __init__(self, embedder: "Embedder", folder: Path) -> None:
        self._embedder = embedder
        self._folder = folder

    def of(self, role: str, texts: Sequence[str]) -> "Vectors":
        """`role` is passage, query or alike."""
        embed: Mapping[str, Callable[[Sequence[str]], Vectors]] = {
            "passage": self._embedder.embed_passages,
            "query": self._embedder.embed_queries,
            "alike": self._embedder.embed_symmetric,
        }
        digest = hashlib.sha256("\0".join([self._embedder.fingerprint, role, *texts]).encode())
        file = self._folder / f"{digest.hexdigest()[:24]}.npy"
        if not file.exists():
            say(f"embedding {len(texts)} texts ({role})")
            found = embed[role](texts)
            self._folder.mkdir(parents=True, exist_ok=True)
            unfinished = file.with_suffix(".part.npy")
            np.save(unfinished, found)
            unfinished.rename(file)
        stored: Vectors = np.load(file)
        return stored


def _set_lines(task: RetrievalSet, vectors: _Vectors, scratch: Path, name: str) -> list[Line]:
    from indexer.search.ranking import Question

    indexes = _indexes(task, vectors, scratch / task.name)
    asked = [
        Question(text, vector)
        for text, vector in zip(task.questions, vectors.of("query", task.questions), strict=True)
    ]
    found: dict[Measured, list[float]] = {}
    for how, settings in MODES.items():
        for question, judged in zip(asked, task.judged, strict=True):
            ranked = _ranked(indexes, question, settings)
            found.setdefault((how, "nDCG@10"), []).append(ndcg(ranked, judged, 10))
            found.setdefault((how, "R@100"), []).append(recall(ranked, judged.keys(), 100))
            found.setdefault((how, "MRR@10"), []).append(
                reciprocal_rank([row in judged for row in ranked[:10]])
            )
    means = {key: fmean(values) for key, values in found.items()}
    aims = _limit_aims() if task.name == "limit_small" else {}
    if task.name == "scifact":
        aims = _scifact_aims(means, name)
    return [
        Line(task.name, *key, means[key], mean_interval(values), *aims.get(key, ("", None)))
        for key, values in found.items()
    ]


def _ranked(indexes: "Indexes", question: "Question", settings: RetrievalSettings) -> list[int]:
    from indexer.search.eligible import EVERY
    from indexer.search.ranking import candidates

    return [found.row for found in candidates(indexes, question, settings, EVERY)]


def _pair_line(pairs: Pairs, vectors: _Vectors, name: str) -> Line:
    first, second = vectors.of("alike", pairs.first), vectors.of("alike", pairs.second)
    value = spearman(np.sum(first * second, axis=1).tolist(), pairs.scores)
    ours = name == EmbedderSettings().name
    published, aim = (".8203", (0.818, 0.822)) if ours else ("", None)
    return Line(STS, "cosine", "Spearman", value, None, published, aim)


def _scifact_aims(means: Mapping[Measured, float], name: str) -> dict[Measured, Aim]:
    """Within half a point of what is published; a fusion must beat both of its halves."""
    aims: dict[Measured, Aim] = {
        ("BM25", "nDCG@10"): (".6874 bm25s, .6789 Lucene", (0.67, 0.69)),
        ("BM25", "R@100"): (".9127 bm25s, .9253 Lucene", None),
    }
    if name in PUBLISHED:
        for metric, value in zip(("nDCG@10", "R@100"), PUBLISHED[name], strict=True):
            near = (round(value - 0.005, 4), round(value + 0.005, 4))
            aims["dense", metric] = (f"{value:.4f} MTEB", near)
    better = round(max(means["dense", "nDCG@10"], means["BM25", "nDCG@10"]) + 1e-4, 4)
    for how in ("hybrid, rrf", "hybrid, minmax"):
        aims[how, "nDCG@10"] = ("", (better, 1.0))
    return aims


def _limit_aims() -> dict[Measured, Aim]:
    """What vectors cannot solve; ranks give the failing half as much weight as the other."""
    return {
        ("dense", "nDCG@10"): ("", (0.0, 0.5)),
        ("BM25", "nDCG@10"): (".991", None),
        ("hybrid, minmax", "nDCG@10"): ("", (BEST_OF_LIMIT, 1.0)),
    }


def _indexes(task: RetrievalSet, vectors: _Vectors, folder: Path) -> "Indexes":
    from indexer.index import lexical
    from indexer.index.rows import MatrixSource
    from indexer.index.vectors import VectorIndex, build_index

    folder.mkdir(parents=True)
    source = MatrixSource(vectors.of("passage", task.documents))
    mark = build_index(source, IndexSettings(kind="flat"), folder / "passages.faiss")
    lexical.build(lambda: task.documents, folder / "bm25")
    return _Pair(
        VectorIndex.load(folder / "passages.faiss", mark),
        lexical.LexicalIndex.load(folder / "bm25"),
    )
