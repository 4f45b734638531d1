"""One search of an index: its parameters, its selector, both made for this call alone.

FAISS crashes where two threads share either. Selectors go by bitmap, which costs the same however
many rows are excluded.
"""

import math

import faiss
import numpy as np
from numpy.typing import NDArray

from indexer.index.kinds import FLAT, IVF, IVF_RABITQ
from indexer.index.marks import IndexMark
from indexer.index.recall import NEAREST
from indexer.index.rows import Rows
from indexer.records import Vectors

PROBES, REFINE, LISTS = "probes", "refine", "lists"
Found = tuple[Vectors, Rows]

_NOTHING = -1
# Of so few rows each is looked at: cheaper than to probe as many lists as would hold the nearest.
_FEW = 4096
_SMALL_SHARE = 16
_LEAST_FACTOR = 4.0


def mask_of(count: int, allowed: Rows | None, excluded: Rows | None) -> NDArray[np.bool_] | None:
    """Which of `count` rows may be found; None for all. ValueError for a row that is not there."""
    if allowed is None and (excluded is None or not len(excluded)):
        return None
    mask = np.full(count, allowed is None)
    for rows, value in ((allowed, True), (excluded, False)):
        if rows is not None and len(rows):
            if int(np.min(rows)) < 0 or int(np.max(rows)) >= count:
                raise ValueError(f"rows to filter by must be from 0 to {count - 1}")
            mask[rows] = value
    return mask


def search(
    index: faiss.Index, mark: IndexMark, queries: Vectors, k: int, mask: NDArray[np.bool_] | None
) -> Found:
    """Scores and rows [n, k], best first, -1 where there is no k-th; k > 0."""
    # The number of OpenMP threads belongs to the calling thread; one search, one thread.
    faiss.omp_set_num_threads(1)
    if mark.kind not in IVF:
        return _ask(index, queries, k, faiss.SearchParameters(sel=_selector(mark, mask)))
    left = int(index.ntotal) if mask is None else int(np.count_nonzero(mask))
    if mask is not None and _is_few(left, len(mask)):
        return _exact(index, mark, queries, k, mask)
    probes = _probes(mark, left / max(1, int(index.ntotal)))
    scores, rows = _ask(index, queries, k, _parameters(mark, k, probes, mask))
    if probes < mark.parameters[LISTS] and np.any(rows[:, min(k, left) - 1] == _NOTHING):
        # The lists that were probed hold fewer than k; there are more in the others.
        return _ask(index, queries, k, _parameters(mark, k, int(mark.parameters[LISTS]), mask))
    return scores, rows


def rescored(index: faiss.Index, queries: Vectors, found: Found) -> Found:
    """By the directions of what eight bits keep: they are truer than its lengths."""
    rows = found[1]
    real = np.maximum(rows, 0).ravel()
    kept = directions(index, real).reshape(*rows.shape, -1)
    cosines = np.einsum("nd,nkd->nk", queries, kept)
    cosines[rows == _NOTHING] = -np.inf
    order = np.argsort(-cosines, axis=1, kind="stable")
    return np.take_along_axis(cosines, order, axis=1), np.take_along_axis(rows, order, axis=1)


def directions(index: faiss.Index, rows: Rows) -> Vectors:
    """The vectors of some rows, made of length 1 again."""
    kept: Vectors = index.reconstruct_batch(rows)
    lengths = np.linalg.norm(kept, axis=1, keepdims=True)
    return np.asarray(kept / np.maximum(lengths, 1e-12), dtype=np.float32)


def _is_few(left: int, count: int) -> bool:
    return left <= _FEW or left * _SMALL_SHARE <= count


def _exact(
    index: faiss.Index, mark: IndexMark, queries: Vectors, k: int, mask: NDArray[np.bool_]
) -> Found:
    """Every row that may be found: in the refining vectors, or in all lists."""
    if mark.kind == IVF_RABITQ:
        whole = faiss.SearchParameters(sel=_selector(mark, mask))
        return _ask(faiss.downcast_index(index.refine_index), queries, k, whole)
    return _ask(index, queries, k, _parameters(mark, k, int(mark.parameters[LISTS]), mask))


def _probes(mark: IndexMark, share: float) -> int:
    """The rarer the rows that may be found, the more lists hold the nearest of them."""
    lists = int(mark.parameters[LISTS])
    return min(lists, math.ceil(mark.parameters[PROBES] / math.sqrt(share))) if share else lists


def _parameters(
    mark: IndexMark, k: int, probes: int, mask: NDArray[np.bool_] | None
) -> faiss.SearchParameters:
    lists = faiss.SearchParametersIVF(nprobe=probes, sel=_selector(mark, mask))
    if mark.kind != IVF_RABITQ:
        return lists
    return faiss.IndexRefineSearchParameters(
        k_factor=_factor(float(mark.parameters[REFINE]), k), base_index_params=lists
    )


def _factor(found: float, k: int) -> float:
    """How many times `k` are refined. It was found for ten; for fewer as many vectors suffice,
    and for more the share that is worth it falls with the root (deploy/docs/indexes.md).
    """
    if k <= NEAREST:
        return found * NEAREST / k
    return max(min(found, _LEAST_FACTOR), found * math.sqrt(NEAREST / k))


def _selector(mark: IndexMark, mask: NDArray[np.bool_] | None) -> faiss.IDSelector | None:
    if mask is None:
        return None
    if mark.kind == FLAT and np.count_nonzero(mask) * 2 <= len(mask):
        # A flat index reads the listed rows and no others.
        return faiss.IDSelectorArray(np.flatnonzero(mask))
    return faiss.IDSelectorBitmap(np.packbits(mask, bitorder="little"))


def _ask(index: faiss.Index, queries: Vectors, k: int, how: faiss.SearchParameters) -> Found:
    scores, rows = index.search(queries, k, params=how)
    return scores, rows
