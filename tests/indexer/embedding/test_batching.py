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


def test_a_length_whose_batch_has_been_proved_is_not_proved_again() -> None:
    forward = _Counted()
    embed = SameBits(forward)
    for _ in range(3):
        assert embed([[1, 2], [3, 4], [5, 6]])[:, 0].tolist() == [3, 7, 11]
    assert forward.sizes == [3, 1, 3, 3]


def test_texts_go_alone_where_a_batch_would_change_their_bits() -> None:
    forward = _Counted(2, 3)
    embed = SameBits(forward)
    for _ in range(2):
        assert embed([[1, 2], [3, 4], [5, 6]])[:, 0].tolist() == [3, 7, 11]
    assert forward.sizes == [3, 1, 1, 1, 1, 1, 1, 1]
    assert embed([[7, 7], [8, 8]])[:, 0].tolist() == [14, 16]


def test_a_larger_batch_than_any_before_is_proved_first() -> None:
    embed = SameBits(_Counted(4))
    assert embed([[1], [2]])[:, 0].tolist() == [1, 2]
    assert embed([[1], [2], [3], [4]])[:, 0].tolist() == [1, 2, 3, 4]


def test_results_keep_their_order_though_threads_finish_in_another() -> None:
    def work(number: int) -> int:
        time.sleep(0.002 * (number % 3))
        return number

    assert list(in_order(work, range(20), 4)) == list(range(20))


def test_leaving_early_drops_what_has_not_begun() -> None:
    begun: list[int] = []

    def work(number: int) -> int:
        begun.append(number)
        return number

    results = in_order(work, range(1000), 2)
    assert next(results) == 0
    results.close()
    assert len(begun) < 10
    assert threading.active_count() < 10


def test_an_error_in_a_thread_is_raised_where_its_result_is_wanted() -> None:
    with pytest.raises(ZeroDivisionError):
        list(in_order(lambda number: 1 / number, [1, 0], 2))
