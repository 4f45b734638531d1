"""The gate's bounds: right as often as they say, and never surer than the number of questions."""

import numpy as np
import pytest

from eval.gate.bounds import difference_bounds, fewest, ratio_bounds


def drawn(chance: np.random.Generator, n: int, first: float, second: float) -> list[float]:
    """Paired answers that agree more often than not."""
    both = chance.random(n)
    own = (both + chance.normal(0, 0.2, n)) % 1.0
    gained: list[float] = ((both < first).astype(float) - (own < second)).tolist()
    return gained


@pytest.mark.parametrize("n", [30, 60, 200])
@pytest.mark.parametrize("share", [0.5, 0.9])
def test_equal_releases_are_called_better_in_five_of_a_hundred_at_most(
    n: int, share: float
) -> None:
    chance = np.random.default_rng(7)
    bounds = [difference_bounds(drawn(chance, n, share, share), 0.95)[0] for _ in range(2000)]
    assert np.mean(np.array(bounds) > 0) <= 0.055


def test_a_release_that_is_worse_by_the_margin_seldom_counts_as_non_inferior() -> None:
    chance = np.random.default_rng(8)
    bounds = [difference_bounds(drawn(chance, 150, 0.75, 0.80), 0.95)[0] for _ in range(2000)]
    assert np.mean(np.array(bounds) > -0.05) <= 0.055


def test_real_gains_are_seen() -> None:
    chance = np.random.default_rng(9)
    bounds = [difference_bounds(drawn(chance, 100, 0.9, 0.6), 0.95)[0] for _ in range(200)]
    assert np.mean(np.array(bounds) > 0) > 0.95


def test_scores_between_nothing_and_all_are_drawn_again_and_always_the_same() -> None:
    values = np.random.default_rng(3).normal(0.1, 0.2, 80).tolist()
    low, high = difference_bounds(values, 0.95)
    assert (low, high) == difference_bounds(values, 0.95)
    assert low < np.mean(values) < high
    normal = 1.645 * np.std(values, ddof=1) / np.sqrt(80)
    assert np.mean(values) - low == pytest.approx(normal, rel=0.15)


def test_equal_answers_show_no_more_than_their_number_can() -> None:
    assert fewest(0.05, 0.95) == 45
    assert difference_bounds([0.0] * 44, 0.95)[0] < -0.05
    assert difference_bounds([0.0] * 45, 0.95)[0] >= -0.05


def test_a_ratio_is_the_median_of_pairs() -> None:
    middle, low, high = ratio_bounds([1.0, 1.1, 1.2, 9.0, 1.1, 1.0, 1.2], 0.95)
    assert middle == 1.1
    assert low <= middle <= high


def test_nothing_is_no_comparison() -> None:
    with pytest.raises(ValueError, match="nothing to compare"):
        difference_bounds([], 0.95)
