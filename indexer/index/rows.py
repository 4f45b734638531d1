"""Vectors by row number, as they come: a block at a time, or a few by their numbers."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from indexer.records import Vectors

Rows = NDArray[np.int64]

_BLOCK = 4096


class VectorSource(Protocol):
    """Unit vectors in row order; `blocks` may be asked for again and gives the same."""

    @property
    def count(self) -> int: ...

    @property
    def dimension(self) -> int: ...

    def blocks(self) -> Iterator[Vectors]: ...

    def rows(self, rows: Sequence[int]) -> Vectors: ...


@dataclass(frozen=True, slots=True)
class MatrixSource:
    """Vectors that are in memory, or memory-mapped, as one matrix [n, dimension]."""

    matrix: Vectors

    @property
    def count(self) -> int:
        return len(self.matrix)

    @property
    def dimension(self) -> int:
        return int(self.matrix.shape[1])

    def blocks(self) -> Iterator[Vectors]:
        for start in range(0, self.count, _BLOCK):
            yield self.matrix[start : start + _BLOCK]

    def rows(self, rows: Sequence[int]) -> Vectors:
        return self.matrix[list(rows)]


def contiguous(rows: Vectors) -> Vectors:
    """As FAISS takes them: a matrix of float32 without gaps."""
    return np.ascontiguousarray(np.atleast_2d(rows), dtype=np.float32)


def unit_blocks(source: VectorSource) -> Iterator[Vectors]:
    """Its blocks, ready to be added. ValueError unless each vector is finite and of length 1."""
    found = 0
    for block in source.blocks():
        rows = contiguous(block)
        if rows.shape[1] != source.dimension:
            raise ValueError(f"vectors of {rows.shape[1]} numbers, not {source.dimension}")
        if not np.all(np.abs(np.linalg.norm(rows, axis=1) - 1.0) < 1e-3):
            raise ValueError("vectors to be indexed must be finite and of length 1")
        found += len(rows)
        yield rows
    if found != source.count:
        raise ValueError(f"{found} vectors came instead of {source.count}")
