"""Rankings are joined as the formulas say."""

import pytest

from indexer.search.fusion import fuse, stretched

NEAR = {7: 0.9, 3: 0.5, 1: 0.1}
TOLD = {3: 12.0, 8: 4.0}


def test_reciprocal_ranks_add_up() -> None:
    fused = fuse((NEAR, TOLD), "rrf")
    assert fused == {
        3: pytest.approx(1 / 62 + 1 / 61),
        7: pytest.approx(1 / 61),
        8: pytest.approx(1 / 62),
        1: pytest.approx(1 / 63),
    }
    assert list(fused) == [3, 7, 8, 1]


def test_normalised_scores_add_up_and_a_missing_row_gets_nothing() -> None:
    fused = fuse((NEAR, TOLD), "minmax")
    assert fused == {3: pytest.approx(1.5), 7: 1.0, 1: 0.0, 8: 0.0}
    assert list(fused) == [3, 7, 1, 8]  # equal ones by row


def test_one_ranking_alone_keeps_its_order() -> None:
    for how in ("rrf", "minmax"):
        assert list(fuse((NEAR, {}), how)) == [7, 3, 1]
        assert fuse(({}, {}), how) == {}


def test_equal_scores_are_all_the_best() -> None:
    assert stretched({1: 2.0, 4: 2.0}) == {1: 1.0, 4: 1.0}
