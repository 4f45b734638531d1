"""Comparisons agree with what statisticians' libraries say, and chance wins no prizes."""

from collections.abc import Iterator
from itertools import combinations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats as reference

from eval.comparing import (
    LEVEL,
    bootstrap,
    compare,
    detectable,
    holm,
    noise_floor,
    p_value,
    paired,
    verdicts,
)
from eval.stats import Share, mcnemar


@given(st.integers(0, 60), st.integers(0, 60))
@settings(deadline=None)  # scipy takes its time at the first call
def test_mcnemar_is_the_exact_binomial_test(gained: int, lost: int) -> None:
    expected = reference.binomtest(gained, gained + lost, 0.5).pvalue if gained + lost else 1.0
    assert mcnemar(gained, lost) == pytest.approx(expected, rel=1e-9)


def test_the_bootstrap_interval_is_scipys() -> None:
    values = np.random.default_rng(5).gamma(2.0, size=120)
    theirs = reference.bootstrap(
        (values,), np.mean, method="percentile", n_resamples=10_000, rng=np.random.default_rng(2)
    ).confidence_interval
    assert bootstrap(values) == pytest.approx((theirs.low, theirs.high), rel=0.02)


def test_flipped_signs_agree_with_the_exact_permutation_test() -> None:
    chosen = np.random.default_rng(3)
    first = chosen.normal(0.4, 1, 14)
    second = chosen.normal(0.0, 1, 14)
    theirs = reference.permutation_test(
        (first, second),
        lambda a, b: np.mean(a - b),
        permutation_type="samples",
        vectorized=False,
        n_resamples=np.inf,  # every one of them: no luck
    )
    _, _, p = paired(first.tolist(), second.tolist())
    assert p == pytest.approx(theirs.pvalue, abs=0.015)


def _pairs(scores: np.ndarray) -> list[np.ndarray]:
    """Of [conditions, questions] the differences of every pair."""
    return [one - other for one, other in combinations(scores, 2)]


def _won(studies: Iterator[np.ndarray]) -> int:
    """In how many studies any condition is called better than another."""
    return sum(min(sure for _, sure in verdicts(_pairs(study))) < LEVEL for study in studies)


def test_no_difference_has_a_winner_in_at_most_one_of_twenty_studies_of_right_and_wrong() -> None:
    """1,000 studies of four equal conditions, the questions being as hard for all of them."""
    chosen = np.random.default_rng(1)
    hard = chosen.random((1_000, 1, 60))
    assert _won(iter((chosen.random((1_000, 4, 60)) < hard).astype(float))) <= 50


def test_no_difference_has_a_winner_in_at_most_one_of_twenty_studies_of_other_scores() -> None:
    """Skewed scores, as those of texts are, and few of them."""
    chosen = np.random.default_rng(7)
    easy = chosen.beta(2, 5, (1_000, 1, 20))
    assert _won(iter(np.clip(easy + chosen.gamma(1.0, 0.1, (1_000, 3, 20)), 0, 1))) <= 50


@pytest.mark.parametrize(("effect", "least"), [(0.0, 0), (0.15, 600)])
def test_what_is_called_better_is_better(effect: float, least: int) -> None:
    """The same test that has no winner without a difference has one where there is one."""
    chosen = np.random.default_rng(2)
    hard = chosen.random((1_000, 1, 200))
    skill = np.array([0.0, effect]).reshape(1, 2, 1)
    won = _won(iter((chosen.random((1_000, 2, 200)) < hard + skill).astype(float)))
    assert won >= least if least else won <= 50


@given(st.lists(st.floats(0, 1), min_size=1, max_size=6))
def test_holm_is_the_closed_test_of_every_intersection(values: list[float]) -> None:
    """Marcus, Peritz and Gabriel 1976: reject one if Bonferroni rejects all sets that hold it."""
    places = range(len(values))
    sets = [one for size in places for one in combinations(places, size + 1)]
    expected = [
        max(min(1.0, len(one) * min(values[at] for at in one)) for one in sets if place in one)
        for place in places
    ]
    assert holm(values) == pytest.approx(expected)


@given(st.integers(1, 3_000), st.floats(0, 1))
@settings(deadline=None)
def test_wilsons_interval_is_scipys(total: int, share: float) -> None:
    hits = round(total * share)
    theirs = reference.binomtest(hits, total).proportion_ci(method="wilson")
    assert Share(hits, total).interval() == pytest.approx((theirs.low, theirs.high), abs=1e-12)


@pytest.mark.parametrize("size", [20, 60, 400])
def test_flipped_signs_agree_with_scipys_permutations(size: int) -> None:
    chosen = np.random.default_rng(size)
    first, second = chosen.beta(3, 2, size), chosen.beta(2, 2, size)
    told = first - second
    theirs = reference.permutation_test(
        (first, second),
        lambda a, b, axis: np.mean(a - b, axis=axis),
        permutation_type="samples",
        vectorized=True,
        n_resamples=9_999,
        rng=np.random.default_rng(1),
    )
    assert p_value(told) == pytest.approx(theirs.pvalue, abs=0.02)  # both draw 10,000


@pytest.mark.parametrize("size", [30, 150, 1_319])
def test_the_detectable_effect_is_that_of_the_paired_t_test(size: int) -> None:
    """At that effect its power, by the noncentral t distribution, is four in five."""
    told = np.random.default_rng(size).choice([-1.0, 0.0, 1.0], size, p=[0.2, 0.5, 0.3])
    shift = detectable(told) / told.std(ddof=1) * np.sqrt(size)
    limit = reference.t.ppf(0.975, size - 1)
    power = reference.nct.sf(limit, size - 1, shift) + reference.nct.cdf(-limit, size - 1, shift)
    assert power == pytest.approx(0.8, abs=0.03 if size < 100 else 0.01)


def test_a_real_difference_is_won_and_a_small_sample_wins_nothing() -> None:
    chosen = np.random.default_rng(2)
    base = (chosen.random(400) < 0.4).astype(float)
    better = np.maximum(base, chosen.random(400) < 0.25)
    (found,) = compare({"base": base.tolist(), "better": better.tolist()})
    assert (found.winner, found.first) == ("better", "base")
    assert found.interval[0] < found.difference < found.interval[1] < 0
    (few,) = compare({"base": base[:8].tolist(), "better": better[:8].tolist()})
    assert few.winner == ""


def test_what_can_be_seen_shrinks_with_the_root_of_the_questions() -> None:
    few = np.random.default_rng(1).choice([-1.0, 0.0, 1.0], 100)
    many = np.tile(few, 4)
    assert detectable(many) == pytest.approx(detectable(few) / 2, rel=0.02)
    assert detectable([1.0]) == float("inf")


def test_an_effect_of_the_detectable_size_is_seen_four_times_in_five() -> None:
    chosen = np.random.default_rng(4)
    spread = chosen.normal(0, 1, 10_000)
    effect = detectable(spread[:200])
    seen = 0
    for _ in range(300):
        sample = chosen.normal(effect, 1, 200)
        seen += reference.ttest_1samp(sample, 0).pvalue < 0.05
    assert 0.72 < seen / 300 < 0.88


def test_the_noise_floor_is_what_the_same_condition_moves_by_itself() -> None:
    assert noise_floor([[1, 0, 1, 1], [1, 1, 1, 1], [1, 0, 1, 1]]) == 0.25


def test_nothing_cannot_be_compared() -> None:
    with pytest.raises(ValueError, match="nothing"):
        paired([], [])
