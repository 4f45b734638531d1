"""Search is exact, says where nothing was found, and may be done from many threads."""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from indexer.errors import StoreError
from indexer.index.vectors import VectorIndex
from indexer.records import Vectors


def _unit_rows(count: int, dimension: int = 16, seed: int = 0) -> Vectors:
    rows = np.random.default_rng(seed).standard_normal((count, dimension)).astype(np.float32)
    unit: Vectors = rows / np.linalg.norm(rows, axis=1, keepdims=True)
    return unit


def test_search_finds_what_multiplying_finds() -> None:
    matrix, queries = _unit_rows(500), _unit_rows(20, seed=1)
    scores, rows = VectorIndex.build(matrix).search(queries, 7)
    exact = queries @ matrix.T
    assert np.array_equal(rows, np.argsort(-exact, axis=1)[:, :7])
    assert np.allclose(scores, -np.sort(-exact, axis=1)[:, :7], atol=1e-6)


def test_rows_that_do_not_exist_are_masked() -> None:
    scores, rows = VectorIndex.build(_unit_rows(2)).search(_unit_rows(1, seed=1), 4)
    assert rows[0, 2:].tolist() == [-1, -1]
    assert scores[0, 2:].tolist() == [-np.inf, -np.inf]


def test_an_empty_index_is_kept_and_searched(tmp_path: Path) -> None:
    VectorIndex.build(np.empty((0, 16), dtype=np.float32)).save(tmp_path / "i.faiss")
    index = VectorIndex.load(tmp_path / "i.faiss")
    assert (index.count, index.dimension) == (0, 16)
    assert index.search(_unit_rows(1), 3)[1].tolist() == [[-1, -1, -1]]


def test_what_is_saved_is_what_is_loaded_byte_for_byte(tmp_path: Path) -> None:
    matrix = _unit_rows(30)
    VectorIndex.build(matrix).save(tmp_path / "a")
    loaded = VectorIndex.load(tmp_path / "a")
    assert np.array_equal(np.stack([loaded.vector(row) for row in range(30)]), matrix)
    loaded.save(tmp_path / "b")
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


def test_threads_may_search_at_once() -> None:
    matrix = _unit_rows(2000)
    index = VectorIndex.build(matrix)
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(lambda row: int(index.search(matrix[row], 1)[1][0, 0]), range(2000)))
    assert found == list(range(2000))


@pytest.mark.parametrize("bad", [np.nan, 2.0])
def test_rows_that_are_not_unit_vectors_are_refused(bad: float) -> None:
    matrix = _unit_rows(3)
    matrix[1] = bad
    with pytest.raises(ValueError, match="length 1"):
        VectorIndex.build(matrix)


def test_a_query_of_another_size_is_refused() -> None:
    with pytest.raises(ValueError, match="8 numbers, not 16"):
        VectorIndex.build(_unit_rows(3)).search(_unit_rows(1, dimension=8), 1)


def test_a_file_that_is_cut_short_or_missing_is_a_store_error(tmp_path: Path) -> None:
    path = tmp_path / "i.faiss"
    VectorIndex.build(_unit_rows(30)).save(path)
    path.write_bytes(path.read_bytes()[:200])
    with pytest.raises(StoreError, match=r"i\.faiss"):
        VectorIndex.load(path)
    with pytest.raises(StoreError, match=r"gone\.faiss"):
        VectorIndex.load(tmp_path / "gone.faiss")
