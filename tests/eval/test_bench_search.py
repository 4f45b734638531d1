"""The search bench asks both sides the same, counts what is found, and refuses what it can't do."""

from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from eval.bench import search as search_bench
from eval.bench import search_gpu, search_vectors, search_whole
from eval.bench.__main__ import app
from indexer.domain import IndexSettings
from indexer.errors import BadInput
from indexer.index.vectors import MatrixSource, build_index

KINDS = ("flat", "fp16", "ivf-sq8", "ivf-rabitq")


def say(_text: str) -> None:
    """To nobody."""


def test_made_up_vectors_are_of_length_one_and_the_same_each_time() -> None:
    vectors = search_vectors.synthetic(3000, 32, 20)
    assert vectors.matrix.shape == (3000, 32)
    assert vectors.questions.shape == (20, 32)
    assert np.allclose(np.linalg.norm(vectors.matrix, axis=1), 1.0, atol=1e-5)
    again = search_vectors.synthetic(3000, 32, 20)
    assert np.array_equal(vectors.matrix, again.matrix)
    # Neighbours are near and others are not: the shape that inverted lists live by.
    scores = np.sort(vectors.questions @ vectors.matrix.T, axis=1)
    assert scores[:, -1].mean() > 0.6
    assert abs(float(scores.mean())) < 0.1


def test_copies_of_real_vectors_are_near_their_originals_and_no_two_alike() -> None:
    rows = search_vectors.synthetic(500, 32, 1).matrix
    more = search_vectors.replicated(rows, 2000)
    assert np.array_equal(more[:500], rows)
    assert len(np.unique(more, axis=0)) == 2000
    assert 0.6 < float((more[500:] @ rows.T).max(axis=1).mean()) < 0.9
    assert np.array_equal(search_vectors.replicated(rows, 100), rows[:100])


def test_stored_vectors_hold_out_their_questions(tmp_path: Path) -> None:
    rows = search_vectors.synthetic(300, 16, 1).matrix
    np.save(tmp_path / "v.npy", rows)
    vectors = search_vectors.stored(tmp_path / "v.npy", 1000, 50)
    assert vectors.matrix.shape == (1000, 16)
    assert float((vectors.questions @ vectors.matrix[:250].T).max()) < 0.9999


@pytest.mark.parametrize("content", [b"", b"no numbers", None])
def test_a_file_without_vectors_is_refused(tmp_path: Path, content: bytes | None) -> None:
    path = tmp_path / "v.npy"
    if content is None:
        np.save(path, np.zeros(7, dtype=np.float32))
    else:
        path.write_bytes(content)
    with pytest.raises(BadInput, match=r"v\.npy"):
        search_vectors.stored(path, 1000, 50)


def test_each_kind_is_measured_beside_bare_faiss(tmp_path: Path) -> None:
    vectors = search_vectors.synthetic(3000, 32, 20)
    results = search_bench.measure(vectors, KINDS, tmp_path, say)
    assert [one.asked for one in results] == list(KINDS)
    assert results[0].recall == 1.0
    assert all(one.recall > 0.9 for one in results)
    assert all(len(one.ours.wall) == len(one.bare.wall) == 20 for one in results)
    assert results[1].bytes < results[0].bytes
    speed, kinds = search_bench.grids(results)
    assert {len(row) for row in speed.rows} == {len(speed.head)}
    assert {len(row) for row in kinds.rows} == {len(kinds.head)}
    assert list(tmp_path.iterdir()) == []


def test_the_nearest_are_found_over_blocks() -> None:
    vectors = search_vectors.synthetic(12_000, 16, 5)
    expected = np.argsort(-(vectors.questions @ vectors.matrix.T), axis=1)[:, :10]
    assert np.array_equal(search_bench.nearest(vectors), expected)


def test_the_whole_retrieval_is_measured_in_every_mode(tmp_path: Path) -> None:
    grid = search_whole.measure(1000, 32, tmp_path, say, questions=20)
    assert "1,000 chunks, flat" in grid.title
    assert [row[0].split(",")[0] for row in grid.rows] == [
        mode for mode in search_whole.MODES for _ in range(2)
    ]
    assert all(float(row[1]) > 0 for row in grid.rows)


def test_a_question_is_of_words_that_its_chunk_holds() -> None:
    texts = search_whole.Texts(100)
    chunks, documents = list(texts.chunks()), {d.path: d for d in texts.documents()}
    chunk = chunks[43]
    text = documents[chunk.document].text[chunk.start : chunk.end]
    assert set(texts.question(43).rstrip(".").split()) <= set(text.rstrip(".").split())


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        (["--sizes", "12"], "--sizes: '12'"),
        (["--sizes", "many"], "--sizes: 'many'"),
        (["--kinds", "hnsw"], "--kinds: 'hnsw'"),
    ],
)
def test_what_cannot_be_measured_is_refused(options: list[str], complaint: str) -> None:
    outcome = CliRunner().invoke(app, ["search", *options])
    assert isinstance(outcome.exception, BadInput)
    assert complaint in outcome.exception.message


def test_when_time_is_up_no_more_than_a_few_questions_are_asked() -> None:
    questions = np.eye(200, dtype=np.float32)
    found = search_bench.in_turns([lambda _: np.zeros((1, 10), np.int64)] * 2, questions, 0.0)
    assert [len(timings.wall) for timings in found[0]] == [50, 50]
    assert found[1].shape == (50, 10)
    all_asked = search_bench.in_turns([lambda _: np.zeros((1, 10), np.int64)], questions, 60.0)
    assert len(all_asked[0][0].wall) == 200


def test_a_gpu_is_timed_beside_all_cores_and_what_both_find_is_compared(tmp_path: Path) -> None:
    vectors = search_vectors.synthetic(3000, 32, 20)
    path = tmp_path / "index.faiss"
    settings = IndexSettings.model_validate({"kind": "flat"})
    mark = build_index(MatrixSource(vectors.matrix), settings, path)
    bare = search_bench.bare_search(path, mark)
    assert search_gpu.beside(path, mark, vectors, bare) == (), "nothing so small is searched there"

    def half(questions: np.ndarray) -> np.ndarray:
        return np.where(np.arange(10) < 5, bare(questions), -1)

    found = search_gpu.measure("flat", 3000, vectors.questions, search_gpu.on_cores(bare), half)
    assert [(one.batch, one.same) for one in found] == [(1, 0.5), (16, 0.5), (20, 0.5)]
    assert all(len(one.processor) == len(one.gpu) == 5 for one in found)
    assert {len(row) for row in search_gpu.grid(found).rows} == {len(search_gpu.grid(found).head)}
