"""What retrieval adds to embedding the question: indexes, records and all, on a snapshot.

The snapshot is written as a job writes it, of made-up texts whose words are as frequent as words
are: the n-th of a vocabulary of 30,000 has a share that falls as 1 / (n + 3).
"""

import contextlib
import resource
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import numpy as np

from eval.bench.search import Timings
from eval.bench.search_vectors import VectorSet, synthetic
from eval.report import Grid
from indexer.domain import RetrievalSettings
from indexer.index.vectors import MatrixSource
from indexer.records import Block, Chunk, Document, Sentence, content_id
from indexer.search.ranking import Question
from indexer.search.retriever import Retriever
from indexer.settings import Paths
from indexer.store.manifest import EmbedderMark
from indexer.store.snapshot import SnapshotContent, open_snapshot, write_snapshot
from indexer.store.tables import chunk_row, document_row

MODES = ("dense", "lexical", "hybrid")
_DOMAIN = "bench"
_CHUNKS = 20  # of a document
_WORDS = 60  # of a chunk
_ASKED_WORDS = 9
_VOCABULARY = 30_000
_DELETED = 50  # documents: 1,000 chunks
_SEED = 3
_QUESTIONS = 300
_WARM_UP = 20
_STRIDE = 7919  # a prime: questions to chunks all over the snapshot

Say = Callable[[str], None]


class Texts:
    """Documents of twenty chunks of one sentence each; the same for the same number."""

    def __init__(self, chunks: int) -> None:
        self._chunks = chunks
        shares = 1.0 / (np.arange(_VOCABULARY) + 3.0)
        self._reach = np.cumsum(shares / shares.sum())

    def documents(self) -> Iterator[Document]:
        for number in range(0, self._chunks, _CHUNKS):
            lines = self._lines(number)
            text = "\n".join(lines)
            ends = np.cumsum([len(line) + 1 for line in lines]) - 1
            blocks = tuple(
                Block("paragraph", int(end) - len(line), int(end))
                for line, end in zip(lines, ends, strict=True)
            )
            path = f"d{number:09d}.txt"
            yield Document(content_id(path), path, f"Text {number}", text, path, blocks)

    def chunks(self) -> Iterator[Chunk]:
        for document in self.documents():
            for block in document.blocks:
                place = block.start, block.end
                name = content_id(document.path, str(block.start))
                yield Chunk(name, document.path, *place, (), (Sentence(*place),))

    def question(self, number: int) -> str:
        """A few words of one chunk."""
        words = self._lines(number // _CHUNKS * _CHUNKS)[number % _CHUNKS].split()
        return " ".join(words[:: max(1, len(words) // _ASKED_WORDS)])

    def _lines(self, number: int) -> list[str]:
        draw = np.random.default_rng([_SEED, number])
        count = min(_CHUNKS, self._chunks - number)
        words = np.searchsorted(self._reach, draw.random((count, _WORDS)))
        return [" ".join(map(_word, line)) + "." for line in words.tolist()]


def _word(number: int) -> str:
    """Letters only, and no two numbers alike."""
    letters = "bcdfghjklmnprstvwz"
    return "".join(letters[number // 18**place % 18] + "aeiou"[place] for place in range(4))


def measure(
    chunks: int, dimension: int, folder: Path, say: Say, questions: int = _QUESTIONS
) -> Grid:
    """One row for each mode, and for the dense one with deleted documents."""
    vectors = synthetic(chunks, dimension, questions)
    texts = Texts(chunks)
    say(f"a snapshot of {chunks:,} chunks")
    start = time.perf_counter()
    path = _written(vectors, texts, folder)
    took = time.perf_counter() - start
    deleted = {d.path: d.id for d, _ in zip(texts.documents(), range(_DELETED), strict=False)}
    asked = [
        Question(texts.question(number * _STRIDE % chunks), vector)
        for number, vector in enumerate(vectors.questions)
    ]
    rows = []
    with contextlib.closing(open_snapshot(path)) as snapshot:
        for mode in MODES:
            say(f"retrieval, {mode}")
            settings = RetrievalSettings.model_validate(
                {"mode": mode, "min_passage_score": -1.0, "passages": 4}
            )
            for name, hidden in ((mode, {}), (f"{mode}, {_DELETED} documents deleted", deleted)):
                retriever = Retriever(snapshot, _always(hidden))
                rows.append((name, *_cells(_timed(retriever, settings, asked))))
        kind = snapshot.manifest.passages_index.kind
    title = (
        f"What retrieval adds to embedding the question: {chunks:,} chunks, {kind}, 4 passages of"
        f" 50 candidates; written and verified in {took:.0f} s; process peak {_peak_mb():,} MB"
    )
    return Grid(title, ("mode", "p50 ms", "p99 ms", "per second and core", "aim"), tuple(rows))


def _written(vectors: VectorSet, texts: Texts, folder: Path) -> Path:
    dimension = vectors.matrix.shape[1]
    mark = EmbedderMark(
        name="made up", dtype="fp32", fingerprint="none", space="none", dimension=dimension
    )
    content = SnapshotContent(
        domain=_DOMAIN,
        documents=map(document_row, texts.documents()),
        chunks=map(chunk_row, texts.chunks()),
        demonstrations=(),
        passage_vectors=MatrixSource(vectors.matrix),
        demonstration_vectors=MatrixSource(np.empty((0, dimension), dtype=np.float32)),
        embedder=mark,
    )
    paths = Paths(folder)
    return paths.snapshot(_DOMAIN, write_snapshot(paths, content))


def _always(hidden: Mapping[str, str]) -> Callable[[], Mapping[str, str]]:
    return lambda: hidden


def _timed(retriever: Retriever, settings: RetrievalSettings, asked: list[Question]) -> Timings:
    wall, processor = [], []
    for question in [*asked[:_WARM_UP], *asked]:
        start, busy = time.perf_counter(), time.thread_time()
        retriever.search(question, settings)
        processor.append((time.thread_time() - busy) * 1000)
        wall.append((time.perf_counter() - start) * 1000)
    return Timings(tuple(wall[_WARM_UP:]), tuple(processor[_WARM_UP:]))


def _cells(asked: Timings) -> tuple[str, str, str, str]:
    figures = f"{asked.percentile(50):.2f}", f"{asked.percentile(99):.2f}"
    return *figures, f"{asked.per_core:,.0f}", "3 ms or less"


def _peak_mb() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
