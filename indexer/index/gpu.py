"""FAISS on a GPU, where the installed FAISS has it and there is one.

The classes named here exist in faiss-gpu only; nothing here is reached where `count` is 0, and
that is what faiss-cpu says. No two threads may use one GPU's resources, not even to search: one
thread owns them.
"""

from concurrent.futures import ThreadPoolExecutor

import faiss
import numpy as np

from indexer.index.kinds import FLAT, FP16, IVF_SQ8
from indexer.index.marks import IndexMark
from indexer.index.searching import PROBES, Found
from indexer.records import Vectors

# FAISS takes 1.5 GiB for each index otherwise: too much beside an engine.
_TEMPORARY_BYTES = 128 << 20
# Below this a processor answers as soon, and the GPU's memory is the engine's.
_FEWEST_TO_SEARCH = 1_000_000
_MOST_NEAREST = 2048
_SEARCHED = (FLAT, FP16, IVF_SQ8)


def count() -> int:
    return int(faiss.get_num_gpus())


def searches(mark: IndexMark, vectors: int, gpus: int) -> bool:
    """Whether an index is worth a GPU's memory; RaBitQ codes cannot be searched there."""
    return gpus > 0 and vectors >= _FEWEST_TO_SEARCH and mark.kind in _SEARCHED


def placed(index: faiss.Index, mark: IndexMark, gpus: int) -> "GpuSearch | None":
    """A copy on the GPU, if it is worth it and there is room: the engine may hold all of it."""
    if not searches(mark, int(index.ntotal), gpus):
        return None
    try:
        return GpuSearch(index, mark)
    except RuntimeError:  # FAISS's word for memory that is not to be had; the processor answers too
        return None


def train(index: faiss.Index, sample: Vectors) -> None:
    """Train an index with inverted lists; the clusters are found on a GPU where there is one."""
    if count():
        lists = faiss.extract_index_ivf(index)
        flat = faiss.IndexFlatIP(index.d)
        clusters = faiss.index_cpu_to_gpu(_resources(), 0, flat)
        lists.clustering_index = clusters
        index.train(sample)
        lists.clustering_index = None
    else:
        index.train(sample)


class GpuSearch:
    """A copy of an index on the first GPU, and the one thread that may touch it."""

    def __init__(self, index: faiss.Index, mark: IndexMark) -> None:
        self._mark = mark
        self._worker = ThreadPoolExecutor(1, thread_name_prefix="faiss-gpu")
        self._index = self._worker.submit(_copied, index).result()

    def search(self, queries: Vectors, k: int) -> Found:
        """Scores and rows [n, k] of at most 2048 nearest; more are asked of the processor."""
        return self._worker.submit(self._ask, queries, k).result()

    @staticmethod
    def takes(k: int) -> bool:
        return k <= _MOST_NEAREST

    def _ask(self, queries: Vectors, k: int) -> Found:
        how = None
        if self._mark.kind == IVF_SQ8:
            how = faiss.SearchParametersIVF(nprobe=int(self._mark.parameters[PROBES]))
        scores, rows = self._index.search(queries, k, params=how)
        return np.asarray(scores), np.asarray(rows)


def _copied(index: faiss.Index) -> faiss.Index:
    return faiss.index_cpu_to_gpu(_resources(), 0, index)


def _resources() -> "faiss.StandardGpuResources":
    resources = faiss.StandardGpuResources()
    resources.setTempMemory(_TEMPORARY_BYTES)
    return resources
