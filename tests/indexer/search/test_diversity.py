"""What is like something chosen gives way to what is not."""

import numpy as np

from indexer.search.diversity import diverse, unlike

VECTORS = np.array([[1, 0], [0.999, 0.0447], [0, 1]], dtype=np.float32)


def test_the_best_comes_first_and_its_double_last() -> None:
    relevance = np.array([0.9, 0.8, 0.5], dtype=np.float32)
    assert diverse(relevance, VECTORS, 0.0, 3) == [0, 1, 2]
    assert diverse(relevance, VECTORS, 0.5, 3) == [0, 2, 1]
    assert diverse(relevance, VECTORS, 0.5, 1) == [0]


def test_it_is_the_formula_of_marginal_relevance() -> None:
    chosen = np.random.default_rng(3)
    vectors = chosen.standard_normal((12, 4)).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    relevance = chosen.uniform(2, 9, 12).astype(np.float32)
    worth = (relevance - relevance.min()) / (relevance.max() - relevance.min())
    picked: list[int] = []
    while len(picked) < 12:
        left = [row for row in range(12) if row not in picked]
        value = {
            row: 0.7 * worth[row]
            - 0.3 * max((float(vectors[row] @ vectors[other]) for other in picked), default=0.0)
            for row in left
        }
        picked.append(max(left, key=lambda row: value[row]))
    assert diverse(relevance, vectors, 0.3, 12) == picked


def test_nothing_and_equal_relevance_are_no_trouble() -> None:
    assert diverse(np.empty(0, dtype=np.float32), VECTORS[:0], 0.5, 3) == []
    assert diverse(np.ones(3, dtype=np.float32), VECTORS, 0.5, 3) == [0, 2, 1]


def test_of_two_that_are_nearly_the_same_the_first_is_kept() -> None:
    assert unlike(VECTORS, 0.95) == [0, 2]
    assert unlike(VECTORS, 1.0) == [0, 1, 2]
    assert unlike(VECTORS[:0], 0.95) == []
