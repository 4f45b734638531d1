"""Nearest neighbours by inner product. Only this room imports FAISS.

An index is never changed once it is built: FAISS crashes or lies where one is. Rows are known by
their number; what a row means is the caller's own list.
"""

from collections.abc import Sequence
from pathlib import Path

import faiss
import numpy as np

from indexer.domain import IndexSettings
from indexer.index.files import read_index, write_index
from indexer.index.marks import IndexMark
from indexer.index.rows import MatrixSource, Rows, VectorSource, contiguous, unit_blocks
from indexer.records import Vectors

__all__ = ["IndexMark", "MatrixSource", "Rows", "VectorIndex", "VectorSource", "build_index"]

_NOTHING = -1


def build_index(source: VectorSource, settings: IndexSettings, path: Path) -> IndexMark:
    """Durably at `path`; the same vectors and settings give the same bytes."""
    index = faiss.IndexFlatIP(source.dimension)
    for block in unit_blocks(source):
        index.add(block)
    write_index(index, path)
    return IndexMark(kind="flat", parameters={}, recall=None)


class VectorIndex:
    """Opened and never changed; several threads may search at once."""

    def __init__(self, index: faiss.Index, mark: IndexMark) -> None:
        self._index = index
        self._mark = mark

    @classmethod
    def load(cls, path: Path, mark: IndexMark) -> "VectorIndex":
        """StoreError when the file is missing, cut short or not an index."""
        return cls(read_index(path), mark)

    @property
    def count(self) -> int:
        return int(self._index.ntotal)

    @property
    def dimension(self) -> int:
        return int(self._index.d)

    def search(
        self, queries: Vectors, k: int, allowed: Rows | None = None, excluded: Rows | None = None
    ) -> tuple[Vectors, Rows]:
        """Scores [n, k] and rows [n, k], best first; row -1 (score -inf) where there is no k-th.

        Of `allowed` rows only, where given, and never of `excluded` ones.
        """
        # The number of OpenMP threads belongs to the calling thread; one search, one thread.
        faiss.omp_set_num_threads(1)
        matrix = contiguous(queries)
        if matrix.shape[1] != self.dimension:
            raise ValueError(f"a query of {matrix.shape[1]} numbers, not {self.dimension}")
        if allowed is None and excluded is None:
            scores, rows = self._index.search(matrix, max(k, 1))
        else:
            rest = np.arange(self.count) if allowed is None else np.asarray(allowed)
            rest = rest if excluded is None else np.setdiff1d(rest, excluded)
            selector = faiss.IDSelectorArray(rest.astype(np.int64))
            parameters = faiss.SearchParameters(sel=selector)
            scores, rows = self._index.search(matrix, max(k, 1), params=parameters)
        scores = np.where(rows == _NOTHING, -np.inf, scores).astype(np.float32)
        return scores[:, :k], rows[:, :k].astype(np.int64)

    def vectors(self, rows: Sequence[int] | Rows) -> Vectors:
        """Those of some rows [n, dimension], as the index keeps them."""
        wanted = np.ascontiguousarray(rows, dtype=np.int64)
        if not len(wanted):
            return np.empty((0, self.dimension), dtype=np.float32)
        return np.asarray(self._index.reconstruct_batch(wanted), dtype=np.float32)
