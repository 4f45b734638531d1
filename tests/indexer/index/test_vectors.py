"""Every kind finds what multiplying finds, only where it may look, and from many threads."""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import faiss
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from indexer.domain import IndexSettings
from indexer.errors import StoreError
from indexer.index.kinds import FLAT, FP16, IVF_RABITQ, IVF_SQ8
from indexer.index.marks import IndexMark
from indexer.index.vectors import MatrixSource, Rows, VectorIndex, build_index
from indexer.records import Vectors
from tests.indexer.index.unit_rows import clustered_rows, unit_rows

KINDS = (FLAT, FP16, IVF_SQ8, IVF_RABITQ)
APPROXIMATE = KINDS[1:]
# What a kind may lose of the ten nearest where all that may be found is looked at.
LOSS = {FLAT: 0.0, FP16: 0.005, IVF_SQ8: 0.04, IVF_RABITQ: 0.01}
COUNT = 6000
MATRIX = clustered_rows(COUNT)
QUERIES = clustered_rows(50, seed=1)


def settings_for(kind: str, recall: float = 0.9) -> IndexSettings:
    return IndexSettings.model_validate({"kind": kind, "recall": recall})


def built(matrix: Vectors, path: Path, kind: str = FLAT) -> VectorIndex:
    return VectorIndex.load(path, build_index(MatrixSource(matrix), settings_for(kind), path))


@pytest.fixture(scope="module")
def indexes(tmp_path_factory: pytest.TempPathFactory) -> dict[str, VectorIndex]:
    folder = tmp_path_factory.mktemp("indexes")
    return {kind: built(MATRIX, folder / kind, kind) for kind in KINDS}


def nearest(queries: Vectors, k: int, may: Rows) -> Rows:
    """By multiplying: rows [n, k], -1 where there is no k-th."""
    scores = queries @ MATRIX[may].T
    best = may[np.argsort(-scores, axis=1, kind="stable")[:, :k]]
    return np.pad(best, ((0, 0), (0, k - best.shape[1])), constant_values=-1)


def shared(found: Rows, expected: Rows) -> float:
    """The share of the expected rows that was found."""
    real = [(set(a) & set(b) - {-1}, set(b) - {-1}) for a, b in zip(found, expected, strict=True)]
    return float(np.mean([len(both) / max(1, len(all_)) if all_ else 1.0 for both, all_ in real]))


@pytest.mark.parametrize("kind", KINDS)
def test_an_index_is_of_the_kind_that_was_asked_for_and_reaches_its_recall(
    indexes: dict[str, VectorIndex], kind: str
) -> None:
    index = indexes[kind]
    assert (index.mark.kind, index.count, index.dimension) == (kind, COUNT, 32)
    expected = nearest(QUERIES, 10, np.arange(COUNT))
    assert shared(index.search(QUERIES, 10)[1], expected) >= 0.9 - LOSS[kind]


@pytest.mark.parametrize("kind", KINDS)
def test_scores_are_cosines_and_fall(indexes: dict[str, VectorIndex], kind: str) -> None:
    scores, rows = indexes[kind].search(QUERIES, 10)
    exact = np.einsum("nd,nkd->nk", QUERIES, MATRIX[rows])
    assert np.allclose(scores, exact, atol=1e-2 if kind == IVF_SQ8 else 1e-3)
    assert np.all(np.diff(scores, axis=1) <= 0)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=25)
@given(
    kind=st.sampled_from(KINDS),
    share=st.sampled_from([None, 0.0, 0.001, 0.02, 0.3, 1.0]),
    hidden=st.sampled_from([None, 0, 5, 600, COUNT]),
    k=st.integers(1, 40),
    seed=st.integers(0, 9),
)
def test_a_filtered_search_finds_what_multiplying_finds(
    indexes: dict[str, VectorIndex],
    kind: str,
    share: float | None,
    hidden: int | None,
    k: int,
    seed: int,
) -> None:
    draw = np.random.default_rng(seed)
    allowed = None if share is None else np.flatnonzero(draw.random(COUNT) < share)
    excluded = None if hidden is None else draw.choice(COUNT, hidden, replace=False)
    may = np.arange(COUNT) if allowed is None else allowed
    may = may if excluded is None else np.setdiff1d(may, excluded)
    scores, rows = indexes[kind].search(QUERIES, k, allowed, excluded)
    expected = nearest(QUERIES, k, may)
    assert np.all(np.isin(rows, [-1, *may]))
    assert np.array_equal(np.isneginf(scores), rows == -1)
    assert np.all((rows == -1).sum(axis=1) == max(0, k - len(may)))
    assert all(len(set(row[row >= 0])) == np.count_nonzero(row >= 0) for row in rows)
    few = len(may) * 16 <= COUNT
    allowance = LOSS[kind] if kind in (FLAT, FP16) or few else 0.2
    assert shared(rows, expected) >= 1 - (allowance + (0.05 if kind != FLAT and k < 10 else 0))


@pytest.mark.parametrize("kind", KINDS)
def test_threads_may_search_at_once_each_with_its_own_filter(
    indexes: dict[str, VectorIndex], kind: str
) -> None:
    index = indexes[kind]

    def found(turn: int) -> bool:
        allowed = np.arange(turn % 7, COUNT, 7)
        excluded = allowed[: turn % 50]
        alone = index.search(QUERIES[turn % 50], 5, allowed, excluded)[1]
        return bool(np.all(np.isin(alone, allowed[turn % 50 :])))

    with ThreadPoolExecutor(8) as pool:
        assert all(pool.map(found, range(1500)))


@pytest.mark.parametrize("kind", KINDS)
def test_threads_find_what_one_thread_finds(indexes: dict[str, VectorIndex], kind: str) -> None:
    index = indexes[kind]
    alone = [index.search(query, 10)[1].tolist() for query in QUERIES]
    with ThreadPoolExecutor(8) as pool:
        together = list(pool.map(lambda n: index.search(QUERIES[n % 50], 10)[1], range(400)))
    assert [rows.tolist() for rows in together] == alone * 8


@pytest.mark.parametrize("kind", KINDS)
def test_more_than_the_probed_lists_hold_are_found_where_there_are_more(
    indexes: dict[str, VectorIndex], kind: str
) -> None:
    _, rows = indexes[kind].search(QUERIES[:3], COUNT + 5)
    assert all(sorted(row[:COUNT]) == list(range(COUNT)) for row in rows.tolist())
    assert np.all(rows[:, COUNT:] == -1)


@pytest.mark.parametrize(("kind", "error"), [(FLAT, 0), (FP16, 1e-3), (IVF_SQ8, 3e-2)])
def test_vectors_come_back_by_row(indexes: dict[str, VectorIndex], kind: str, error: float) -> None:
    rows = [5, 0, COUNT - 1, 5]
    assert np.allclose(indexes[kind].vectors(rows), MATRIX[rows], atol=error)
    assert indexes[kind].vectors([]).shape == (0, 32)
    with pytest.raises(ValueError, match="0 to 5999"):
        indexes[kind].vectors([COUNT])


@pytest.mark.parametrize("rows", [[-1], [COUNT]])
def test_a_filter_that_names_no_row_is_refused(
    indexes: dict[str, VectorIndex], rows: list[int]
) -> None:
    for filters in ({"allowed": np.array(rows)}, {"excluded": np.array(rows)}):
        with pytest.raises(ValueError, match="from 0 to 5999"):
            indexes[FLAT].search(QUERIES, 3, **filters)


def test_rows_that_do_not_exist_are_masked(tmp_path: Path) -> None:
    index = built(unit_rows(2), tmp_path / "i.faiss")
    scores, rows = index.search(unit_rows(1, seed=1), 4)
    assert rows[0, 2:].tolist() == [-1, -1]
    assert scores[0, 2:].tolist() == [-np.inf, -np.inf]


@pytest.mark.parametrize("kind", [*KINDS, "auto"])
@pytest.mark.parametrize("count", [0, 1, 40, 300])
def test_any_kind_of_few_vectors_is_kept_and_searched(
    tmp_path: Path, kind: str, count: int
) -> None:
    matrix = unit_rows(count)
    index = built(matrix, tmp_path / "i.faiss", kind)
    assert (index.count, index.dimension) == (count, 16)
    assert index.search(unit_rows(1, seed=1), 3)[1].shape == (1, 3)
    if count:
        assert index.search(matrix[count // 2], 1)[1].tolist() == [[count // 2]]


def test_a_flat_index_gives_back_the_same_bits(indexes: dict[str, VectorIndex]) -> None:
    assert np.array_equal(indexes[FLAT].vectors(np.arange(COUNT)), MATRIX)


@pytest.mark.parametrize("bad", [np.nan, 2.0])
def test_rows_that_are_not_unit_vectors_are_refused(tmp_path: Path, bad: float) -> None:
    matrix = unit_rows(3)
    matrix[1] = bad
    with pytest.raises(ValueError, match="length 1"):
        built(matrix, tmp_path / "i.faiss")
    assert list(tmp_path.iterdir()) == []


def test_a_query_of_another_size_is_refused(tmp_path: Path) -> None:
    index = built(unit_rows(3), tmp_path / "i.faiss")
    with pytest.raises(ValueError, match="8 numbers, not 16"):
        index.search(unit_rows(1, dimension=8), 1)


@pytest.mark.parametrize("kind", KINDS)
def test_a_file_that_is_cut_short_or_missing_is_a_store_error(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "i.faiss"
    mark = build_index(MatrixSource(MATRIX[:2000]), settings_for(kind), path)
    content = path.read_bytes()
    for size in (0, 100, len(content) // 2, len(content) - 8):
        path.write_bytes(content[:size])
        with pytest.raises(StoreError, match=r"i\.faiss"):
            VectorIndex.load(path, mark)
    with pytest.raises(StoreError, match=r"gone\.faiss"):
        VectorIndex.load(tmp_path / "gone.faiss", mark)


def test_an_index_of_another_kind_than_its_mark_says_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "i.faiss"
    build_index(MatrixSource(MATRIX), settings_for(FLAT), path)
    mark = IndexMark(kind=IVF_SQ8, parameters={"lists": 8, "probes": 2}, recall=0.97)
    with pytest.raises(StoreError, match="not an index of kind ivf-sq8"):
        VectorIndex.load(path, mark)


def test_searching_leaves_the_callers_number_of_threads_at_one(tmp_path: Path) -> None:
    faiss.omp_set_num_threads(2)
    built(unit_rows(3), tmp_path / "i.faiss").search(unit_rows(1), 1)
    assert faiss.omp_get_max_threads() == 1
