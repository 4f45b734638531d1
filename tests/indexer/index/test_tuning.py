"""Tuning takes the least that reaches the target, with a margin where one can be had."""

from collections.abc import Sequence

import pytest

from indexer.index.marks import IndexMark
from indexer.index.tuning import _ladder, _least

MARKS = [IndexMark(kind="ivf-sq8", parameters={"probes": n}, recall=None) for n in range(8)]


def _probes(recalls: Sequence[float], *goals: float) -> float:
    def recall(mark: IndexMark) -> float:
        return recalls[int(mark.parameters["probes"])]

    return _least(MARKS[: len(recalls)], recall, goals).parameters["probes"]


@pytest.mark.parametrize(
    ("recalls", "expected"),
    [
        ([0.98, 0.99, 1.0], 0),
        ([0.9, 0.97, 0.98, 1.0], 2),
        ([0.9, 0.96, 0.97, 0.975, 0.975], 2),  # the margin cannot be had: not all is probed for it
        ([0.5, 0.6, 0.7], 2),
    ],
)
def test_the_least_that_reaches_a_goal_is_taken(recalls: list[float], expected: int) -> None:
    assert _probes(recalls, 0.98, 0.97) == expected


def test_the_ladder_rises_to_all_lists_and_not_beyond() -> None:
    assert _ladder(1) == [1]
    assert _ladder(8) == [1, 2, 3, 4, 6, 8]
    assert _ladder(50)[-3:] == [32, 48, 50]
