"""Vectors to an index: trained on a sample, filled block by block, tuned to its recall.

The same vectors give the same bytes: samples are drawn with fixed seeds, and one thread computes.
Beside the index, memory holds a block, the sample and the questions that measure it.
"""

import faiss
import numpy as np

from indexer.domain import IndexSettings
from indexer.index import gpu
from indexer.index.kinds import (
    FLAT,
    FP16,
    IVF_RABITQ,
    IVF_SQ8,
    candidates,
    lists_for,
    training_points,
)
from indexer.index.marks import IndexMark
from indexer.index.recall import QUESTIONS, Exam
from indexer.index.rows import VectorSource, contiguous, unit_blocks
from indexer.index.tuning import tuned
from indexer.records import Vectors

_SEED = 1_234
_ITERATIONS = 10
# Questions to an index with nothing to tune, whose recall is hardly ever below .997.
_FEWER = 128
# Eight bits span what the sample spans and a quarter more on each side: what lies outside is cut
# off, and the largest error of a vector falls from 0.067 to 0.011 (MiniLM).
_WIDER = 0.25


def build(source: VectorSource, settings: IndexSettings) -> tuple[faiss.Index, IndexMark]:
    """The first kind that reaches the recall, or an exact one; and what it turned out to be."""
    faiss.omp_set_num_threads(1)
    kinds, reason = candidates(settings.kind, source.count, source.dimension)
    exam: Exam | None = None
    for kind in kinds:
        if kind == FLAT:
            break
        exam = exam or Exam(source, _FEWER if kind == FP16 else QUESTIONS)
        index = _filled(kind, source, exam)
        mark = tuned(index, kind, exam, settings.recall)
        if mark.recall is not None and mark.recall >= settings.recall:
            return index, mark.model_copy(update={"reason": reason})
        reason = f"{kind} has a recall of {mark.recall}, not {settings.recall}"
        del index  # before the next one takes as much
    exact = IndexMark(kind=FLAT, parameters={}, recall=None, reason=reason)
    return _filled(FLAT, source, None), exact


def _filled(kind: str, source: VectorSource, exam: Exam | None) -> faiss.Index:
    index = _empty(kind, source)
    _reserve(index if kind in (FLAT, FP16) else _refining(index, kind), source.count)
    blocks = unit_blocks(source)
    for block in exam.watch(blocks) if exam else blocks:
        index.add(block)
    if kind == IVF_SQ8:
        faiss.extract_index_ivf(index).make_direct_map()  # a row's vector is found by its number
    return index


def _empty(kind: str, source: VectorSource) -> faiss.Index:
    if kind == FLAT:
        return faiss.IndexFlatIP(source.dimension)
    if kind == FP16:
        half = faiss.ScalarQuantizer.QT_fp16
        return faiss.IndexScalarQuantizer(source.dimension, half, faiss.METRIC_INNER_PRODUCT)
    codes = "SQ8" if kind == IVF_SQ8 else "RaBitQfs,Refine(SQfp16)"
    recipe = f"IVF{lists_for(source.count)},{codes}"
    index = faiss.index_factory(source.dimension, recipe, faiss.METRIC_INNER_PRODUCT)
    if kind == IVF_SQ8:
        index.sq.rangestat_arg = _WIDER
    clustering = faiss.extract_index_ivf(index).cp
    clustering.seed, clustering.niter, clustering.spherical = _SEED, _ITERATIONS, True
    gpu.train(index, _sample(source))
    return index


def _refining(index: faiss.Index, kind: str) -> faiss.Index | None:
    return faiss.downcast_index(index.refine_index) if kind == IVF_RABITQ else None


def _reserve(codes: faiss.Index | None, count: int) -> None:
    """Room for all vectors at once: growing would take up to three times as much meanwhile."""
    if codes is not None:
        codes.codes.resize(count * codes.code_size)
        codes.codes.resize(0)


def _sample(source: VectorSource) -> Vectors:
    number = training_points(source.count)
    drawn = np.random.default_rng(_SEED).choice(source.count, number, replace=False)
    return contiguous(source.rows(np.sort(drawn).tolist()))
