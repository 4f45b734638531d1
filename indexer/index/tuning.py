"""With how many probes and how much refining an index reaches its recall: no more than it takes."""

import bisect
from collections.abc import Callable, Sequence

import faiss

from indexer.index.kinds import FP16, IVF_RABITQ
from indexer.index.marks import IndexMark
from indexer.index.recall import Exam
from indexer.index.searching import LISTS, PROBES, REFINE, search

Recall = Callable[[IndexMark], float]

_REFINES = (2, 4, 8, 16, 32)
# What real questions lost beside the made-up ones, at most (deploy/docs/indexes.md).
_MARGIN = 0.01


def tuned(index: faiss.Index, kind: str, exam: Exam, target: float) -> IndexMark:
    """The fewest probes, then the least refining that reach the target and a margin; else most."""

    def recall(mark: IndexMark) -> float:
        return exam.recall(lambda questions, k: search(index, mark, questions, k, None)[1])

    mark = IndexMark(kind=kind, parameters={}, recall=None)
    if kind != FP16:
        margin = min(_MARGIN, (1 - target) / 3)
        lists = int(faiss.extract_index_ivf(index).nlist)
        most = {LISTS: lists} | ({REFINE: _REFINES[-1]} if kind == IVF_RABITQ else {})
        mark = mark.model_copy(update={"parameters": most})
        mark = _least(_with(mark, PROBES, _ladder(lists)), recall, (target + margin, target))
        if kind == IVF_RABITQ:
            # Part of the margin is left to the refining, or it would have to lose nothing.
            goals = (target + margin / 2, target)
            mark = _least(_with(mark, REFINE, _REFINES), recall, goals)
    return mark.model_copy(update={"recall": recall(mark)})


def _with(mark: IndexMark, name: str, values: Sequence[int]) -> list[IndexMark]:
    return [
        mark.model_copy(update={"parameters": {**mark.parameters, name: value}}) for value in values
    ]


def _least(marks: Sequence[IndexMark], recall: Recall, goals: Sequence[float]) -> IndexMark:
    """The first that reaches the first goal that any reaches; the last mark where none does.

    The recall rises from mark to mark.
    """
    known: dict[int, float] = {}

    def at(place: int) -> float:
        if place not in known:
            known[place] = recall(marks[place])
        return known[place]

    for goal in goals:
        place = bisect.bisect_left(range(len(marks)), goal, key=at)
        if place < len(marks):
            return marks[place]
    return marks[-1]


def _ladder(most: int) -> list[int]:
    """1, 2, 3, 4, 6, 8, 12, ... and `most`."""
    steps = (step for n in range(most.bit_length()) for step in (2**n, 3 * 2 ** (n - 1)))
    return [*sorted({int(step) for step in steps if 1 <= step < most}), most]
