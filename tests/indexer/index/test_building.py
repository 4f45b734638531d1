"""An index reaches its recall or gives way to a better kind, in set bytes and bounded memory."""

import os
import resource
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pytest

from indexer.domain import IndexSettings
from indexer.errors import StoreError
from indexer.index.kinds import FLAT, FP16, IVF_RABITQ, IVF_SQ8
from indexer.index.vectors import IndexMark, MatrixSource, VectorIndex, build_index
from indexer.records import Vectors
from tests.indexer.index.unit_rows import clustered_rows, unit_rows

KINDS = (FLAT, FP16, IVF_SQ8, IVF_RABITQ)
_BUILD = """
import sys
from pathlib import Path
from tests.indexer.index.test_building import build
path = Path(sys.argv[1])
sys.stdout.write(build(path, sys.argv[2]).model_dump_json())
"""
_PEAK = """
import sys
from pathlib import Path
from tests.indexer.index.test_building import Counted, kilobytes
Counted(1000).build(Path(sys.argv[1]), sys.argv[2])
Path("/proc/self/clear_refs").write_text("5")  # the peak begins anew
before = kilobytes("VmRSS")
Counted(int(sys.argv[3])).build(Path(sys.argv[1]), sys.argv[2])
sys.stdout.write(str(kilobytes("VmHWM") - before))
"""


def kilobytes(name: str) -> int:
    """Of this process, as Linux counts them."""
    lines = Path("/proc/self/status").read_text(encoding="utf-8").splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(name))


def build(path: Path, kind: str, recall: float = 0.9, count: int = 3000) -> IndexMark:
    settings = IndexSettings.model_validate({"kind": kind, "recall": recall})
    return build_index(MatrixSource(clustered_rows(count)), settings, path)


class Counted:
    """Vectors made as they are asked for, a thousand at a time: none of them is kept."""

    dimension = 256

    def __init__(self, count: int) -> None:
        self.count = count

    def blocks(self) -> Iterator[Vectors]:
        for start in range(0, self.count, 1000):
            yield unit_rows(1000, self.dimension, seed=start)

    def rows(self, rows: Sequence[int]) -> Vectors:
        wanted = np.asarray(rows)
        places = [wanted[wanted // 1000 == part] % 1000 for part in np.unique(wanted // 1000)]
        parts = [
            unit_rows(1000, self.dimension, seed=int(part) * 1000)[place]
            for part, place in zip(np.unique(wanted // 1000), places, strict=True)
        ]
        return np.vstack(parts)

    def build(self, path: Path, kind: str) -> IndexMark:
        settings = IndexSettings.model_validate({"kind": kind, "recall": 0.5})
        return build_index(self, settings, path)


def _child(code: str, *arguments: str, threads: str = "1") -> str:
    environment = {**os.environ, "OMP_NUM_THREADS": threads, "OPENBLAS_NUM_THREADS": threads}
    done = subprocess.run(
        [sys.executable, "-c", code, *arguments],
        env=environment,
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stdout


@pytest.mark.parametrize("kind", KINDS)
def test_another_process_with_other_threads_writes_the_same_bytes(
    tmp_path: Path, kind: str
) -> None:
    mark = build(tmp_path / "a", kind)
    other = _child(_BUILD, str(tmp_path / "b"), kind, threads="3")
    assert other == mark.model_dump_json()
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


@pytest.mark.parametrize("kind", KINDS)
def test_how_the_blocks_are_cut_changes_nothing(tmp_path: Path, kind: str) -> None:
    class Cut(MatrixSource):
        def blocks(self) -> Iterator[Vectors]:
            yield from np.array_split(self.matrix, 7)

    settings = IndexSettings.model_validate({"kind": kind, "recall": 0.9})
    matrix = clustered_rows(3000)
    build_index(MatrixSource(matrix), settings, tmp_path / "a")
    build_index(Cut(matrix), settings, tmp_path / "b")
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


def test_a_higher_recall_probes_more_lists(tmp_path: Path) -> None:
    low = build(tmp_path / "i", IVF_RABITQ, recall=0.6)
    high = build(tmp_path / "i", IVF_RABITQ, recall=0.95)
    assert low.parameters["probes"] < high.parameters["probes"]
    assert low.recall is not None
    assert high.recall is not None
    assert 0.6 <= low.recall < 0.95 <= high.recall


def test_a_recall_that_a_kind_cannot_reach_takes_the_next_better_one_and_says_why(
    tmp_path: Path,
) -> None:
    mark = build(tmp_path / "i", IVF_SQ8, recall=0.9999)
    assert (mark.kind, mark.recall) == (FLAT, None)
    assert mark.reason.startswith("fp16 has a recall of 0.99")
    assert VectorIndex.load(tmp_path / "i", mark).count == 3000


@pytest.mark.parametrize(
    ("asked", "count", "kind", "reason"),
    [
        ("auto", 300, FLAT, ""),
        (FP16, 100, FLAT, "100 vectors are too few to measure fp16"),
        (IVF_SQ8, 300, FP16, "300 vectors are too few to train ivf-sq8"),
    ],
)
def test_few_vectors_get_a_kind_that_needs_no_training(
    tmp_path: Path, asked: str, count: int, kind: str, reason: str
) -> None:
    mark = build(tmp_path / "i", asked, count=count)
    assert (mark.kind, mark.reason) == (kind, reason)


@pytest.mark.parametrize("kind", KINDS)
def test_vectors_that_are_all_alike_are_indexed(tmp_path: Path, kind: str) -> None:
    matrix = np.repeat(unit_rows(1), 1000, axis=0)
    settings = IndexSettings.model_validate({"kind": kind})
    mark = build_index(MatrixSource(matrix), settings, tmp_path / "i")
    assert VectorIndex.load(tmp_path / "i", mark).search(matrix[:1], 5)[0].min() > 0.99


@pytest.mark.parametrize(
    ("kind", "bytes_per_number", "times"),
    # Inverted lists grow one by one, each to twice what it holds.
    [(FLAT, 4, 1.0), (FP16, 2, 1.0), pytest.param(IVF_SQ8, 1, 2.0, marks=pytest.mark.slow)],
)
def test_building_takes_the_index_and_a_bounded_rest(
    tmp_path: Path, kind: str, bytes_per_number: int, times: float
) -> None:
    count = 40_000
    taken = int(_child(_PEAK, str(tmp_path / "i"), kind, str(count)))
    index = count * Counted.dimension * bytes_per_number / 1024
    assert 0.9 * index < taken < times * index + 25_000


def test_a_source_that_gives_fewer_vectors_than_it_says_is_refused(tmp_path: Path) -> None:
    class Short(MatrixSource):
        @property
        def count(self) -> int:
            return len(self.matrix) + 1

    with pytest.raises(ValueError, match="30 vectors came instead of 31"):
        build_index(Short(unit_rows(30)), IndexSettings(), tmp_path / "i")


@pytest.fixture
def small_files() -> Iterator[None]:
    """No file of this process grows beyond 100,000 bytes: writing fails as on a full disk."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, before[1]))
    yield
    resource.setrlimit(resource.RLIMIT_FSIZE, before)


@pytest.mark.usefixtures("small_files")
@pytest.mark.parametrize("kind", [FLAT, IVF_RABITQ])
def test_a_write_that_fails_is_a_store_error_and_leaves_what_was_there(
    tmp_path: Path, kind: str
) -> None:
    (tmp_path / "i").write_bytes(b"before")
    with pytest.raises(StoreError, match="File too large"):
        build(tmp_path / "i", kind)
    assert (tmp_path / "i").read_bytes() == b"before"
    assert [file.name for file in tmp_path.iterdir()] == ["i"]


def test_a_folder_that_cannot_be_written_is_a_store_error(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="nowhere"):
        build(tmp_path / "nowhere" / "i", FLAT)
