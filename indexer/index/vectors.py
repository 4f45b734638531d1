"""Exact nearest neighbours by inner product. The only module that imports FAISS.

An index is never changed once it is built: FAISS crashes or lies where one is. Rows are known by
their number; what a row means is the caller's own list.
"""

import os
from pathlib import Path

import faiss
import numpy as np
from numpy.typing import NDArray

from indexer.errors import StoreError
from indexer.records import Vectors
from indexer.settings import store_errors, write_atomically

Rows = NDArray[np.int64]

_NOTHING = -1


class VectorIndex:
    """Unit float32 vectors in a flat index; several threads may search at once."""

    def __init__(self, index: faiss.Index) -> None:
        self._index = index

    @classmethod
    def build(cls, matrix: Vectors) -> "VectorIndex":
        """From unit rows [n, dimension]; n may be 0."""
        rows = np.ascontiguousarray(matrix, dtype=np.float32)
        if not np.all(np.abs(np.linalg.norm(rows, axis=1) - 1.0) < 1e-3):
            raise ValueError("vectors to be indexed must be finite and of length 1")
        index = faiss.IndexFlatIP(rows.shape[1])
        index.add(rows)
        return cls(index)

    @classmethod
    def load(cls, path: Path) -> "VectorIndex":
        """StoreError when the file is missing, cut short or not an index."""
        with store_errors(path):
            os.stat(path)
        try:
            return cls(faiss.read_index(str(path)))
        except RuntimeError as error:
            raise StoreError(
                f"{path} is not an index that can be read", "Index the domain again"
            ) from error

    def save(self, path: Path) -> None:
        """Durably: FAISS's own writer does not report a full disk, so it is not used."""
        write_atomically(path, faiss.serialize_index(self._index).tobytes())

    @property
    def count(self) -> int:
        return int(self._index.ntotal)

    @property
    def dimension(self) -> int:
        return int(self._index.d)

    def search(self, queries: Vectors, k: int) -> tuple[Vectors, Rows]:
        """Scores [n, k] and rows [n, k], best first; row -1 (score -inf) where there is no k-th."""
        # The number of OpenMP threads belongs to the calling thread; one search, one thread.
        faiss.omp_set_num_threads(1)
        matrix = np.ascontiguousarray(np.atleast_2d(queries), dtype=np.float32)
        if matrix.shape[1] != self.dimension:
            raise ValueError(f"a query of {matrix.shape[1]} numbers, not {self.dimension}")
        scores, rows = self._index.search(matrix, max(k, 1))
        scores = np.where(rows == _NOTHING, -np.inf, scores).astype(np.float32)
        return scores[:, :k], rows[:, :k].astype(np.int64)

    def vector(self, row: int) -> Vectors:
        return np.asarray(self._index.reconstruct(row), dtype=np.float32)
