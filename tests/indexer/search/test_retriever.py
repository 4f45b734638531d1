"""A question finds the nearest passages and examples, in the order their readers want."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from indexer.domain import Domain
from indexer.errors import StoreError
from indexer.job.run import IndexJob
from indexer.records import Vectors
from indexer.search.retriever import Retriever
from indexer.settings import Paths
from indexer.store.snapshot import open_snapshot
from tests.indexer.hash_embedder import HashEmbedder


@pytest.fixture
def retriever(domain: Domain, paths: Paths, embedder: HashEmbedder) -> Iterator[Retriever]:
    result = IndexJob(domain, paths, embedder=embedder).run()
    opened = Retriever(open_snapshot(paths.snapshot(domain.name, result.snapshot)))
    yield opened
    opened.close()


def _vector(text: str) -> Vectors:
    vector: Vectors = HashEmbedder().embed_queries([text])[0]
    return vector


def test_passages_come_best_first_with_what_a_citation_needs(retriever: Retriever) -> None:
    passages = retriever.passages(_vector("Descale the kettle every month. Use citric acid"), 10)
    assert len(passages) == 4
    assert [p.score for p in passages] == sorted((p.score for p in passages), reverse=True)
    best = passages[0]
    assert (best.document, best.title, best.headings) == ("kettle.md", "The kettle", ("Care",))
    assert best.sentence_texts() == (
        "Descale the kettle every month.",
        "Use citric acid, e.g. Larkfield powder.",
        "Fault | Remedy",
        "Hums | Descale it",
    )
    for passage in passages:
        document = retriever.document(passage.document)
        assert document is not None
        for sentence, quote in zip(passage.sentences, passage.sentence_texts(), strict=True):
            assert document.text[sentence.start : sentence.end] == quote


def test_only_as_many_as_asked_and_none_below_the_least_score(retriever: Retriever) -> None:
    vector = _vector("Descale the kettle every month.")
    every = retriever.passages(vector, 10)
    assert retriever.passages(vector, 2) == every[:2]
    assert retriever.passages(vector, 10, min_score=every[1].score) == every[:2]
    assert retriever.passages(vector, 10, min_score=1.1) == []
    assert retriever.passages(vector, 0) == []


def test_the_most_similar_demonstration_comes_last(retriever: Retriever) -> None:
    found = retriever.demonstrations(_vector("How big is the kettle?"), 5)
    assert [d.question for d in found] == ["Is it loud?", "How big is the kettle?"]
    assert found[1].score == pytest.approx(1.0, abs=1e-5)
    assert retriever.demonstrations(_vector("How big is the kettle?"), 1) == found[1:]
    assert retriever.demonstrations(_vector("x"), 0) == []


def test_an_excluded_demonstration_gives_way_to_the_next(retriever: Retriever) -> None:
    vector = _vector("How big is the kettle?")
    (best,) = retriever.demonstrations(vector, 1)
    (next_best,) = retriever.demonstrations(vector, 1, exclude={best.id})
    assert next_best.question == "Is it loud?"
    assert retriever.demonstrations(vector, 2, exclude={best.id, next_best.id}) == []


def test_many_threads_read_at_once(retriever: Retriever) -> None:
    vector = _vector("The toaster's tray")
    expected = retriever.passages(vector, 3)
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(lambda _: retriever.passages(vector, 3), range(400)))
    assert all(passages == expected for passages in found)


def test_a_vector_of_another_embedder_is_a_store_error(retriever: Retriever) -> None:
    with pytest.raises(StoreError, match="index of 32"):
        retriever.passages(np.ones(384, dtype=np.float32), 1)
