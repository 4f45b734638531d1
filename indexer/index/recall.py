"""How much of what is really nearest an index finds, measured while it is built.

The questions are made of stored vectors: a + 2 unit(b - c), for three rows drawn at random. They
keep to where the vectors lie and are as far from the nearest as people's questions are; a stored
vector with a little noise is found too easily and promises more than real questions get.
"""

from collections.abc import Callable, Iterator

import faiss
import numpy as np
from numpy.typing import NDArray

from indexer.index.rows import Rows, VectorSource, contiguous
from indexer.records import Vectors

NEAREST = 10
QUESTIONS = 512
_DISTANCE = np.float32(2.0)
_SEED = 20_231
# Vectors that are as near as the tenth count as well: which of them is found does not matter.
_KEPT = 4 * NEAREST
_TIE = 1e-6

Search = Callable[[Vectors, int], Rows]


class Exam:
    """Questions to a source of at least thirty vectors, and the rows that answer each best."""

    def __init__(self, source: VectorSource, questions: int = QUESTIONS) -> None:
        self.questions = _questions(source, questions)
        self._depth = min(NEAREST, source.count)
        self._scores = np.empty((len(self.questions), 0), dtype=np.float32)
        self._rows = np.empty((len(self.questions), 0), dtype=np.int64)
        self._seen = 0
        self._count = source.count

    def watch(self, blocks: Iterator[Vectors]) -> Iterator[Vectors]:
        """The blocks, unchanged; the first time they pass, each is searched for answers."""
        for block in blocks:
            if self._seen < self._count:
                self._see(block)
            yield block

    def recall(self, search: Search) -> float:
        """The share of the ten nearest that is found; `search` gives rows [n, k]."""
        good = self._scores >= self._scores[:, self._depth - 1 : self._depth] - _TIE
        found = search(self.questions, self._depth)
        hits = (found[:, :, None] == np.where(good, self._rows, -2)[:, None, :]).any(axis=2)
        return round(float(hits.mean()), 4)

    def _see(self, block: Vectors) -> None:
        scores, rows = faiss.knn(
            self.questions, block, min(_KEPT, len(block)), metric=faiss.METRIC_INNER_PRODUCT
        )
        scores = np.hstack([self._scores, scores])
        rows = np.hstack([self._rows, rows + self._seen])
        best: NDArray[np.int64] = np.argsort(-scores, axis=1, kind="stable")[:, :_KEPT]
        self._scores = np.take_along_axis(scores, best, axis=1)
        self._rows = np.take_along_axis(rows, best, axis=1)
        self._seen += len(block)


def _questions(source: VectorSource, most: int) -> Vectors:
    """Unit vectors [n, dimension], the same for the same vectors."""
    number = min(most, source.count // 3)
    drawn = np.random.default_rng(_SEED).choice(source.count, 3 * number, replace=False)
    order = np.sort(drawn)
    vectors = contiguous(source.rows(order.tolist()))[np.searchsorted(order, drawn)]
    near, one, other = vectors[:number], vectors[number : 2 * number], vectors[2 * number :]
    return _unit(near + _DISTANCE * _unit(one - other))


def _unit(rows: Vectors) -> Vectors:
    """Of length 1; what is nothing stays nothing."""
    lengths = np.linalg.norm(rows, axis=1, keepdims=True)
    return contiguous(rows / np.maximum(lengths, 1e-12))
