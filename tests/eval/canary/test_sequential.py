"""The sequential test: chance is not called a difference however often one looks."""

import math

import numpy as np
import pytest

from eval.canary.sequential import FEWEST, Sample, compare

LEVEL = 0.05


def ever_called(chance: np.random.Generator, first: float, second: float, most: int) -> int | None:
    """After how many callers of each side the test calls a difference, looking at each step."""
    own = np.cumsum(chance.random(most) < first)
    other = np.cumsum(chance.random(most) < second)
    for n in range(FEWEST, most, 5):
        sides = [
            Sample(n, hits / n, (share := (hits + 1) / (n + 2)) * (1 - share))
            for hits in (int(own[n - 1]), int(other[n - 1]))
        ]
        if compare(sides[0], sides[1], 0.1, LEVEL).p < LEVEL:
            return n
    return None


@pytest.mark.parametrize("share", [0.05, 0.3, 0.9])
def test_equal_releases_are_called_different_in_five_of_a_hundred_at_most(share: float) -> None:
    """Looked at two hundred times each; a test of fixed size would err in about a third."""
    chance = np.random.default_rng(5)
    wrong = sum(ever_called(chance, share, share, 1000) is not None for _ in range(250))
    assert wrong / 250 <= LEVEL


def test_a_fixed_test_that_is_looked_at_each_time_errs_far_oftener() -> None:
    """What the sequential test is for: the same peeking, with p-values of a fixed size."""
    chance = np.random.default_rng(5)
    wrong = 0
    for _ in range(200):
        first, second = (np.cumsum(chance.random(1000) < 0.3) for _ in range(2))
        n = np.arange(FEWEST, 1000, 5)
        a, b = first[n - 1] / n, second[n - 1] / n
        spread = (a * (1 - a) + b * (1 - b)) / n
        wrong += bool((np.abs(a - b) / np.sqrt(spread) > 1.96).any())
    assert wrong / 200 > 0.2


def test_a_real_difference_is_seen_and_the_larger_the_sooner() -> None:
    chance = np.random.default_rng(6)
    large = [ever_called(chance, 0.4, 0.1, 1000) for _ in range(50)]
    small = [ever_called(chance, 0.25, 0.1, 1000) for _ in range(50)]
    assert all(large)
    told = [n for n in small if n]
    assert len(told) >= 45
    assert np.median([n for n in large if n]) < np.median(told)


def test_the_interval_holds_at_all_times_together() -> None:
    chance = np.random.default_rng(7)
    missed = 0
    for _ in range(150):
        first, second = chance.normal(0.2, 1, 800), chance.normal(0, 1, 800)
        for n in range(FEWEST, 800, 20):
            sides = [
                Sample(n, float(values[:n].mean()), float(values[:n].var(ddof=1)))
                for values in (first, second)
            ]
            found = compare(sides[0], sides[1], 0.2, LEVEL)
            if not found.low <= 0.2 <= found.high:
                missed += 1
                break
    assert missed / 150 <= LEVEL


def test_interval_and_p_agree() -> None:
    for difference in (0.0, 0.05, 0.1, 0.15, 0.2, 0.3):
        found = compare(Sample(300, 0.3 + difference, 0.21), Sample(300, 0.3, 0.21), 0.1, LEVEL)
        assert (found.p < LEVEL) == (found.low > 0)


@pytest.mark.parametrize(
    "few", [Sample(FEWEST - 1, 1.0, 0.01), Sample(0, 0.0, 0.0), Sample(99, 1.0, 0.0)]
)
def test_too_few_or_all_the_same_decide_nothing(few: Sample) -> None:
    found = compare(few, Sample(500, 0.0, 0.01 if few.count < FEWEST else 0.0), 0.1, LEVEL)
    assert found.p == 1.0
    assert math.isinf(found.high)


def test_a_share_of_nothing_or_of_all_has_a_variance() -> None:
    assert Sample.of([0.0] * 50, is_share=True).variance > 0
    assert Sample.of([1.0] * 50, is_share=True).variance > 0
    assert Sample.of([0.5] * 50, is_share=False).variance == 0
