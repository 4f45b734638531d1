"""Comparisons agree with what statisticians' libraries say, and chance wins no prizes."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats as reference

from eval.comparing import bootstrap, compare, detectable, holm, noise_floor, paired
from eval.stats import mcnemar


@given(st.integers(0, 60), st.integers(0, 60))
@settings(deadline=None)  # scipy takes its time at the first call
def test_mcnemar_is_the_exact_binomial_test(gained: int, lost: int) -> None:
    expected = reference.binomtest(gained, gained + lost, 0.5).pvalue if gained + lost else 1.0
    assert mcnemar(gained, lost) == pytest.approx(expected, rel=1e-9)


@given(st.lists(st.floats(0, 1), min_size=1, max_size=15))
def test_holm_is_step_down_and_keeps_the_order_of_the_values(values: list[float]) -> None:
    found = holm(values)
    order = sorted(range(len(values)), key=values.__getitem__)
    expected = np.minimum(
        1, np.maximum.accumulate([(len(values) - k) * values[at] for k, at in enumerate(order)])
    )
    assert [found[at] for at in order] == pytest.approx(expected.tolist())
    assert all(mine >= raw or mine == 1 for mine, raw in zip(found, values, strict=True))


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


def test_a_difference_of_nothing_has_a_winner_in_at_most_one_of_twenty_studies() -> None:
    chosen = np.random.default_rng(1)
    won = 0
    for _ in range(1_000):
        hard = chosen.random(60)
        studies = {name: (chosen.random(60) < hard).astype(float) for name in "abcd"}
        pairs = [(a, b) for n, a in enumerate("abcd") for b in "abcd"[n + 1 :]]
        p = []
        for a, b in pairs:
            told = studies[a] - studies[b]
            p.append(mcnemar(int((told > 0).sum()), int((told < 0).sum())))
        won += min(holm(p)) < 0.05
    assert won <= 50


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
