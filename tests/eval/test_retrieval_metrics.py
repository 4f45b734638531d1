"""Metrics agree with what is computed by hand, as BEIR and trec_eval define them."""

import math

import ir_measures
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from eval.retrieval_metrics import ndcg, recall, reciprocal_rank, spearman


def test_ndcg_of_one_relevant_document_is_the_discount_of_its_place() -> None:
    assert ndcg(["a", "b", "c"], {"a": 1}, 10) == 1.0
    assert ndcg(["a", "b", "c"], {"b": 1}, 10) == pytest.approx(1 / math.log2(3))
    assert ndcg(["a", "b", "c"], {"c": 1}, 10) == pytest.approx(0.5)
    assert ndcg(["a", "b", "c"], {"c": 1}, 2) == 0.0
    assert ndcg([], {"c": 1}, 10) == 0.0
    assert ndcg(["a"], {}, 10) == 0.0


def test_ndcg_weighs_grades_and_knows_what_was_missed() -> None:
    graded = {"a": 3, "b": 2, "c": 1}
    # The gains 2, 0, 3 at places 1 to 3, over the best order 3, 2, 1.
    expected = (2 + 3 / 2) / (3 + 2 / math.log2(3) + 1 / 2)
    assert ndcg(["b", "x", "a"], graded, 3) == pytest.approx(expected)
    assert ndcg(["a"], {"a": 1, "b": 1}, 10) == pytest.approx(1 / (1 + 1 / math.log2(3)))


def test_recall_is_of_all_that_is_relevant() -> None:
    assert recall(["a", "b", "c"], {"a", "c", "z", "y"}, 3) == 0.5
    assert recall(["a", "b", "c"], {"a", "c", "z", "y"}, 2) == 0.25
    assert recall(["a"], set(), 2) == 0.0


def test_the_reciprocal_rank_is_of_the_first_that_is_right() -> None:
    assert reciprocal_rank([False, True, True]) == 0.5
    assert reciprocal_rank([False]) == 0.0


def test_spearman_shares_ranks_among_equals() -> None:
    assert spearman([1, 2, 3, 4], [10, 20, 30, 45]) == pytest.approx(1.0)
    assert spearman([1, 2, 3], [3, 2, 1]) == pytest.approx(-1.0)
    # Ranks 1.5, 1.5, 3 against 1, 2, 3: covariance 1.5, variances 1.5 and 2.
    assert spearman([5, 5, 9], [1, 2, 3]) == pytest.approx(1.5 / math.sqrt(1.5 * 2))


@given(
    st.permutations([f"d{n}" for n in range(14)]),
    st.dictionaries(st.sampled_from([f"d{n}" for n in range(20)]), st.integers(0, 3), min_size=1),
)
@settings(deadline=None)
def test_rankings_score_as_trec_eval_scores_them(order: list[str], judged: dict[str, int]) -> None:
    """By ir_measures, which calls trec_eval; documents without a positive grade are not relevant"""
    relevance = {name: grade for name, grade in judged.items() if grade > 0}
    measures = [ir_measures.nDCG @ 10, ir_measures.R @ 5, ir_measures.RR @ 10]
    run = {"q": {name: float(-place) for place, name in enumerate(order)}}
    theirs = ir_measures.calc_aggregate(measures, {"q": judged}, run)
    ours = [
        ndcg(order, relevance, 10),
        recall(order, relevance.keys(), 5),
        reciprocal_rank([name in relevance for name in order[:10]]),
    ]
    assert ours == pytest.approx([theirs[one] for one in measures], abs=1e-9)
