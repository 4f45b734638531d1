"""Nearest neighbours by inner product: what the other rooms use. Only this room imports FAISS.

An index is never changed once it is built: FAISS crashes or lies where one is. Rows are known by
their number; what a row means is the caller's own list.
"""

from collections.abc import Sequence
from pathlib import Path

import faiss
import numpy as np
from numpy.typing import NDArray

from indexer.domain import IndexSettings
from indexer.errors import StoreError
from indexer.index import gpu, searching
from indexer.index.building import build
from indexer.index.files import read_index, write_index
from indexer.index.kinds import FLAT, IVF, IVF_SQ8
from indexer.index.marks import IndexMark
from indexer.index.rows import MatrixSource, Rows, VectorSource, contiguous
from indexer.records import Vectors

__all__ = ["IndexMark", "MatrixSource", "Rows", "VectorIndex", "VectorSource", "build_index"]

_NOTHING = -1
# From how many numbers on FAISS multiplies a batch of queries as matrices; its own limit would
# leave batches of up to 300 without.
_BATCH_NUMBERS = 2048
# Of eight bits some more are found than asked for: their own order is not quite the right one.
_MORE = 8


def build_index(source: VectorSource, settings: IndexSettings, path: Path) -> IndexMark:
    """Durably at `path`; the same vectors and settings give the same bytes and the same mark.

    ValueError for vectors that are not finite and of length 1, StoreError when it can't be written
    """
    index, mark = build(source, settings)
    write_index(index, path)
    return mark


class VectorIndex:
    """Opened and never changed; any number of threads may search at once."""

    def __init__(self, index: faiss.Index, mark: IndexMark) -> None:
        self._index = index
        self.mark = mark
        self._gpu = gpu.placed(index, mark, gpu.count())

    @classmethod
    def load(cls, path: Path, mark: IndexMark) -> "VectorIndex":
        """StoreError when the file is missing, cut short, not an index or not of the mark's kind"""
        faiss.cvar.distance_compute_blas_threshold = _BATCH_NUMBERS
        index = read_index(path)
        if (mark.kind in IVF) != (faiss.try_extract_index_ivf(index) is not None):
            raise StoreError(
                f"{path} is not an index of kind {mark.kind}", "Index the domain again"
            )
        return cls(index, mark)

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
        matrix = contiguous(queries)
        if matrix.shape[1] != self.dimension:
            raise ValueError(f"a query of {matrix.shape[1]} numbers, not {self.dimension}")
        mask = searching.mask_of(self.count, allowed, excluded)
        wanted = max(0, min(k, self.count))
        scores = np.full((len(matrix), max(k, 0)), -np.inf, dtype=np.float32)
        rows = np.full(scores.shape, _NOTHING, dtype=np.int64)
        if wanted:
            found = self._find(matrix, wanted, mask)
            rows[:, :wanted] = found[1]
            scores[:, :wanted] = np.where(found[1] == _NOTHING, -np.inf, found[0])
        return scores, rows

    def _find(
        self, queries: Vectors, k: int, mask: NDArray[np.bool_] | None
    ) -> tuple[Vectors, Rows]:
        more = min(k + _MORE, self.count) if self.mark.kind == IVF_SQ8 else k
        if self._gpu is not None and mask is None and self._gpu.takes(more):
            found = self._gpu.search(queries, more)
        else:
            found = searching.search(self._index, self.mark, queries, more, mask)
        if self.mark.kind == IVF_SQ8:
            found = searching.rescored(self._index, queries, found)
        return found[0][:, :k], found[1][:, :k]

    def vectors(self, rows: Sequence[int] | Rows) -> Vectors:
        """Those of some rows [n, dimension], as the index keeps them, of length 1.

        ValueError for a row that is not there.
        """
        wanted = np.ascontiguousarray(rows, dtype=np.int64)
        if not len(wanted):
            return np.empty((0, self.dimension), dtype=np.float32)
        if int(wanted.min()) < 0 or int(wanted.max()) >= self.count:
            raise ValueError(f"rows must be from 0 to {self.count - 1}")
        faiss.omp_set_num_threads(1)
        if self.mark.kind == FLAT:
            return np.asarray(self._index.reconstruct_batch(wanted), dtype=np.float32)
        return searching.directions(self._index, wanted)
