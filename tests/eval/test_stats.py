"""Shares, their intervals, and ratios of rounds."""

import math

import pytest

from eval.stats import (
    Share,
    Spread,
    cases_needed,
    mcnemar,
    mean_interval,
    paired_ratio,
    sign_flips,
)


def test_a_share_of_nothing_has_no_value_and_says_so() -> None:
    assert Share.of([]).value is None
    assert str(Share.of([])) == "-"
    assert Share.of([]).interval() == (0.0, 1.0)


@pytest.mark.parametrize(
    ("hits", "total", "low", "high"),
    [
        # Newcombe 1998, table I: Wilson's score interval without continuity correction.
        (81, 263, 0.2553, 0.3662),
        (15, 148, 0.0624, 0.1605),
        (0, 20, 0.0, 0.1611),
        (1, 29, 0.0061, 0.1718),
        (20, 20, 0.8389, 1.0),
    ],
)
def test_wilson_intervals_equal_the_published_ones(
    hits: int, total: int, low: float, high: float
) -> None:
    assert Share(hits, total).interval() == pytest.approx((low, high), abs=5e-5)


@pytest.mark.parametrize("total", [1, 2, 7, 60, 1000])
def test_an_interval_holds_its_share_and_stays_within_bounds(total: int) -> None:
    for hits in range(total + 1):
        low, high = Share(hits, total).interval()
        assert 0.0 <= low <= hits / total <= high <= 1.0


def test_a_share_is_shown_with_its_counts_and_interval() -> None:
    assert str(Share(19, 20)) == "0.95 (19/20; 0.76 to 0.99)"


def test_ratios_are_taken_within_each_round() -> None:
    # Both twice as slow in the second round: the ratio does not move.
    assert paired_ratio([2.0, 4.0, 2.0], [1.0, 2.0, 1.0]) == Spread(2.0, 2.0, 2.0)


def test_rounds_that_do_not_match_are_refused() -> None:
    with pytest.raises(ValueError, match="zip"):
        paired_ratio([1.0], [1.0, 2.0])


def test_mcnemar_is_the_exact_binomial_test_of_what_changed() -> None:
    assert mcnemar(0, 0) == 1.0
    assert mcnemar(5, 0) == pytest.approx(2 * 0.5**5)
    assert mcnemar(1, 9) == mcnemar(9, 1) == pytest.approx(2 * 11 / 1024)
    assert mcnemar(4, 4) == 1.0


def test_sign_flips_tell_a_difference_from_chance() -> None:
    assert sign_flips([]) == sign_flips([0.0, 0.0]) == 1.0
    assert sign_flips([0.5] * 20) < 0.001
    assert sign_flips([0.5, -0.5] * 10) > 0.9
    assert sign_flips([1.0] * 4) == pytest.approx(2 / 16, abs=0.02)


def test_a_smaller_difference_needs_more_cases() -> None:
    # z 1.96 and .8416: ((1.96 sqrt(.2) + .8416 sqrt(.19)) / .1) squared
    assert cases_needed(0.1) == 155
    assert cases_needed(0.05) > 4 * cases_needed(0.1) / 2


def test_a_mean_has_an_interval_from_two_values_on() -> None:
    low, high = mean_interval([0.0, 1.0])
    assert (low + high) / 2 == pytest.approx(0.5)
    assert high - low == pytest.approx(2 * 1.959964 * math.sqrt(0.5 / 2))
    assert mean_interval([0.3]) == (-math.inf, math.inf)
