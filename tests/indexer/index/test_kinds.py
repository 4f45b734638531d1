"""The kind goes by how many numbers a scan would read; lists are trained with enough points."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from indexer.index.kinds import (
    FLAT,
    FP16,
    IVF_RABITQ,
    IVF_SQ8,
    by_size,
    candidates,
    lists_for,
    training_points,
)


@pytest.mark.parametrize(
    ("count", "dimension", "kind"),
    [
        (0, 384, FLAT),
        (13_000, 384, FLAT),
        (14_000, 384, FP16),
        (7_000, 768, FP16),
        (39_000, 384, FP16),
        (40_000, 384, IVF_RABITQ),
        (20_000, 768, IVF_RABITQ),
        (100_000, 384, IVF_RABITQ),
    ],
)
def test_auto_goes_by_count_and_dimension(count: int, dimension: int, kind: str) -> None:
    assert by_size(count, dimension) == kind


def test_each_kind_gives_way_to_more_exact_ones_only() -> None:
    assert candidates(IVF_SQ8, 10_000, 384) == ([IVF_SQ8, IVF_RABITQ, FP16, FLAT], "")
    assert candidates(FP16, 10_000, 384) == ([FP16, FLAT], "")
    assert candidates("auto", 10_000, 384) == ([FLAT], "")


@given(st.integers(0, 10**9))
def test_every_list_has_its_training_points_and_the_sample_is_bounded(count: int) -> None:
    assert training_points(count) >= 39 * lists_for(count)
    assert training_points(count) <= min(count, 300_000)
