"""Whether a GPU is used. What it does there needs one, and is not tested here."""

import pytest

from indexer.index import gpu
from indexer.index.kinds import FLAT, FP16, IVF_RABITQ, IVF_SQ8
from indexer.index.marks import IndexMark


def _mark(kind: str) -> IndexMark:
    return IndexMark(kind=kind, parameters={}, recall=None)


@pytest.mark.parametrize(
    ("kind", "vectors", "gpus", "expected"),
    [
        (FLAT, 1_000_000, 1, True),
        (FP16, 2_000_000, 2, True),
        (IVF_SQ8, 1_000_000, 1, True),
        (IVF_RABITQ, 9_000_000, 1, False),
        (FLAT, 999_999, 1, False),
        (FLAT, 9_000_000, 0, False),
    ],
)
def test_a_gpu_searches_what_is_large_and_what_it_can(
    kind: str, vectors: int, gpus: int, expected: bool
) -> None:
    assert gpu.searches(_mark(kind), vectors, gpus) is expected


def test_more_nearest_than_a_gpu_gives_are_asked_of_the_processor() -> None:
    assert gpu.GpuSearch.takes(2048)
    assert not gpu.GpuSearch.takes(2049)


class _Large:
    ntotal = 2_000_000


def test_without_room_on_the_gpu_the_processor_searches(monkeypatch: pytest.MonkeyPatch) -> None:
    def no_room(index: object, mark: IndexMark) -> None:
        raise RuntimeError("cudaMalloc error out of memory")

    monkeypatch.setattr(gpu, "GpuSearch", no_room)
    assert gpu.placed(_Large(), _mark("flat"), gpus=1) is None
    assert gpu.placed(_Large(), _mark("flat"), gpus=0) is None
