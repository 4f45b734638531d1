"""Shares, their intervals, and ratios of rounds."""

import pytest

from eval.stats import Share, Spread, paired_ratio


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
