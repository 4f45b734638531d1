"""Texts share a batch only where it pays and changes nothing."""

import threading
import time
from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from indexer.embedding.batching import SameBits, in_order, of_one_length, within_budget
from indexer.records import Vectors

_LENGTHS = st.lists(st.integers(0, 60), max_size=80)


@given(_LENGTHS, st.integers(0, 200))
def test_a_budget_holds_every_row_once_and_no_batch_beyond_it(
    lengths: list[int], budget: int
) -> None:
    batches = within_budget(lengths, budget)
    assert sorted(row for rows in batches for row in rows) == list(range(len(lengths)))
    for rows in batches:
        assert len(rows) == 1 or len(rows) * max(lengths[row] for row in rows) <= max(budget, 0)


@given(_LENGTHS, st.integers(1, 9))
def test_texts_of_one_length_share_a_batch_and_no_others(lengths: list[int], largest: int) -> None:
    batches = of_one_length(lengths, largest)
    assert sorted(row for rows in batches for row in rows) == list(range(len(lengths)))
    assert all(len({lengths[row] for row in rows}) == 1 for rows in batches)
    assert all(len(rows) <= largest for rows in batches)
    longest = [lengths[rows[0]] for rows in batches]
    assert longest == sorted(longest, reverse=True)


def test_texts_of_like_length_share_a_batch_within_the_budget() -> None:
    assert within_budget([5, 90, 10, 100, 0, 7], 200) == [[3, 1], [2, 5, 0, 4]]


class _Counted:
    """Vectors that show the batch they were made in where it is of a size in `spoiled`."""

    def __init__(self, *spoiled: int) -> None:
        self.sizes: list[int] = []
        self._spoiled = spoiled

    def __call__(self, batch: Sequence[Sequence[int]]) -> Vectors:
        self.sizes.append(len(batch))
        shown = 0.5 if len(batch) in self._spoiled else 0.0
        return np.array([[sum(ids) + shown] for ids in batch], dtype=np.float32)


def _texts(count: int) -> list[list[int]]:
    return [[number, 1] for number in range(count)]


def _right(found: Vectors) -> bool:
    return bool(np.array_equal(found[:, 0], np.arange(1, len(found) + 1)))


def test_a_length_whose_batch_has_been_proved_is_not_proved_again() -> None:
    forward = _Counted()
    embed = SameBits(forward)
    assert all(_right(embed(_texts(5))) for _ in range(3))
    assert forward.sizes == [5, 1, 5, 5]


def test_a_larger_batch_than_the_proved_one_goes_in_parts_of_its_size() -> None:
    forward = _Counted(8)
    embed = SameBits(forward)
    assert _right(embed(_texts(4)))
    assert _right(embed(_texts(8)))
    assert _right(embed(_texts(6)))
    assert forward.sizes == [4, 1, 4, 4, 4, 2]


def test_few_texts_go_alone_until_their_length_is_proved() -> None:
    forward = _Counted()
    embed = SameBits(forward)
    assert _right(embed(_texts(3)))
    assert _right(embed(_texts(4)))
    assert _right(embed(_texts(3)))
    assert forward.sizes == [1, 1, 1, 4, 1, 3]


def test_texts_go_alone_where_a_batch_would_change_their_bits() -> None:
    forward = _Counted(2, 3, 4)
    embed = SameBits(forward)
    assert all(_right(embed(_texts(4))) for _ in range(2))
    assert _right(embed(_texts(2)))
    assert forward.sizes == [4, 1, *[1] * 10]


def test_results_keep_their_order_though_threads_finish_in_another() -> None:
    def work(number: int) -> int:
        time.sleep(0.002 * (number % 3))
        return number

    assert list(in_order(work, range(20), 4)) == list(range(20))


def test_leaving_early_drops_what_has_not_begun() -> None:
    begun: list[int] = []
    before = threading.active_count()

    def work(number: int) -> int:
        begun.append(number)
        return number

    results = in_order(work, range(1000), 2)
    assert next(results) == 0
    results.close()
    assert len(begun) < 10
    assert threading.active_count() <= before + 2


def test_an_error_in_a_thread_is_raised_where_its_result_is_wanted() -> None:
    with pytest.raises(ZeroDivisionError):
        list(in_order(lambda number: 1 / number, [1, 0], 2))
