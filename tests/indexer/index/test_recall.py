"""The exam's questions are unit vectors that do not change, and its count is of what is nearest."""

import numpy as np

from indexer.index.recall import Exam, Search
from indexer.index.rows import MatrixSource, Rows, unit_blocks
from indexer.records import Vectors
from tests.indexer.index.unit_rows import clustered_rows, unit_rows


def _sat(matrix: Vectors) -> Exam:
    source = MatrixSource(matrix)
    exam = Exam(source)
    passed = list(exam.watch(unit_blocks(source)))
    assert np.array_equal(np.vstack(passed), matrix)
    return exam


def _exact(matrix: Vectors) -> Search:
    def search(questions: Vectors, k: int) -> Rows:
        return np.argsort(-(questions @ matrix.T), axis=1)[:, :k]

    return search


def test_an_exact_search_passes_and_half_of_it_gets_half() -> None:
    matrix = clustered_rows(9000)
    exam = _sat(matrix)
    assert exam.recall(_exact(matrix)) == 1.0
    half = exam.recall(lambda asked, k: np.where(np.arange(k) % 2, -1, _exact(matrix)(asked, k)))
    assert half == 0.5


def test_of_vectors_that_are_alike_it_does_not_matter_which_are_found() -> None:
    matrix = np.repeat(unit_rows(100), 12, axis=0)
    exam = _sat(matrix)
    assert exam.recall(lambda asked, k: _exact(matrix)(asked, 12)[:, 12 - k :]) == 1.0


def test_questions_are_the_same_each_time_and_of_length_one() -> None:
    source = MatrixSource(clustered_rows(1000))
    questions = Exam(source).questions
    assert np.array_equal(questions, Exam(source).questions)
    assert np.allclose(np.linalg.norm(questions, axis=1), 1.0, atol=1e-6)
