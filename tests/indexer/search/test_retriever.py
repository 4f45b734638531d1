"""A question finds passages by each mode, and examples, in the order their readers want."""

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from indexer.domain import RetrievalSettings
from indexer.errors import StoreError
from indexer.records import Place, Vectors
from indexer.search.ranking import Question
from indexer.search.retriever import Retriever
from tests.indexer.search.shelf import Shelf, document, question, vector

KETTLE = document(
    "kettle.md",
    [
        "The kettle holds 1.7 litres.",
        "Descale the kettle every month.",
        "Use citric acid for part KX-77.",
        "It hums when it is scaled.",
    ],
    pages=(0, 40),
)
TOASTER = document("toaster.md", ["Crumbs fall into a tray.", "Empty the tray each week."])
ANY = RetrievalSettings(min_passage_score=-1.0, passages=3)


@pytest.fixture
def retriever(tmp_path: Path) -> Iterator[Retriever]:
    with Shelf([KETTLE, TOASTER]).open(tmp_path / "snapshot") as opened:
        yield opened


def _with(settings: RetrievalSettings, **changes: object) -> RetrievalSettings:
    return settings.model_validate({**settings.model_dump(), **changes})


def test_passages_come_best_first_with_what_a_citation_needs(retriever: Retriever) -> None:
    hits = retriever.search(question("Descale the kettle every month."), ANY)
    passages = [hit.passage for hit in hits]
    assert len(passages) == 3
    best = passages[0]
    assert (best.document, best.title, best.headings) == ("kettle.md", "kettle.md", ("Part",))
    assert best.text == "Descale the kettle every month."
    assert best.score == pytest.approx(1.0, abs=1e-5)
    assert best.page == KETTLE.page(best.start) == 1
    for hit in hits:
        passage = hit.passage
        assert (hit.order, hit.lexical) == (passage.score, None)
        found = retriever.document(passage.document)
        assert found is not None
        for sentence, quote in zip(passage.sentences, passage.sentence_texts(), strict=True):
            assert found.text[sentence.start : sentence.end] == quote


def test_only_as_many_as_asked_and_none_below_the_least_cosine(retriever: Retriever) -> None:
    asked = question("Descale the kettle every month.")
    every = retriever.search(asked, _with(ANY, passages=6))
    assert [hit.order for hit in every] == sorted((hit.order for hit in every), reverse=True)
    assert retriever.search(asked, _with(ANY, passages=2)) == every[:2]
    least = every[1].passage.score
    assert retriever.search(asked, _with(ANY, min_passage_score=least)) == every[:2]
    assert retriever.search(asked, _with(ANY, passages=0)) == []


def test_words_find_what_a_vector_does_not(retriever: Retriever) -> None:
    asked = question("KX-77")
    (hit,) = retriever.search(asked, _with(ANY, mode="lexical"))
    assert hit.passage.text == "Use citric acid for part KX-77."
    assert hit.lexical is not None
    assert hit.order == hit.lexical > 0
    stored = vector(hit.passage.text)
    assert hit.passage.score == pytest.approx(float(stored @ asked.vector), abs=1e-5)


def test_of_words_the_best_cosine_decides_for_all(retriever: Retriever) -> None:
    asked = question("descale a tray")
    found = retriever.search(asked, _with(ANY, mode="lexical", passages=6))
    cosines = [hit.passage.score for hit in found]
    assert len(found) == 3
    between = (min(cosines) + max(cosines)) / 2
    lexical = _with(ANY, mode="lexical", passages=6)
    assert retriever.search(asked, _with(lexical, min_passage_score=between)) == found
    assert retriever.search(asked, _with(lexical, min_passage_score=max(cosines) + 0.01)) == []


@pytest.mark.parametrize("fusion", ["rrf", "minmax"])
def test_hybrid_puts_first_what_both_find(retriever: Retriever, fusion: str) -> None:
    hybrid = _with(ANY, mode="hybrid", fusion=fusion, passages=6)
    asked = question("Empty the tray")
    hits = retriever.search(asked, hybrid)
    assert hits[0].passage.text == "Empty the tray each week."
    assert len(hits) == 6  # whatever the vectors find, too
    assert [hit.lexical is not None for hit in hits].count(True) == 2
    least = sorted(hit.passage.score for hit in hits)[3]
    kept = retriever.search(asked, _with(hybrid, min_passage_score=least))
    assert kept == [hit for hit in hits if hit.passage.score >= least]


def test_a_cross_encoder_has_the_last_word(retriever: Retriever) -> None:
    seen: list[tuple[str, Sequence[str]]] = []

    def shortest(asked: str, texts: Sequence[str]) -> Vectors:
        seen.append((asked, texts))
        return np.array([-len(text.split("\n")[1]) for text in texts], dtype=np.float32)

    settings = _with(ANY, rerank="tiny", passages=2)
    hits = retriever.search(question("tray"), settings, scorer=shortest)
    assert [hit.passage.text for hit in hits] == [
        "Crumbs fall into a tray.",
        "Empty the tray each week.",
    ]
    [(asked, texts)] = seen
    assert asked == "tray"
    assert len(texts) == 6
    assert "toaster.md > Part\nEmpty the tray each week." in texts
    with pytest.raises(ValueError, match="tiny was not given"):
        retriever.search(question("tray"), settings)


def test_diversity_prefers_what_is_unlike(tmp_path: Path) -> None:
    twins = document("a.md", ["The kettle is big.", "The kettle is big!", "A kettle has a lid."])
    with Shelf([twins]).open(tmp_path / "snapshot") as retriever:
        asked = question("The kettle is big.")
        plain = retriever.search(asked, _with(ANY, passages=2))
        unlike = retriever.search(asked, _with(ANY, passages=2, diversity=0.8))
    assert [hit.passage.start for hit in plain] == [0, 19]
    assert [hit.passage.start for hit in unlike] == [0, 38]


def test_the_copies_of_a_passage_come_with_it(tmp_path: Path) -> None:
    place = Place("toaster.md", 0, 24)
    with Shelf([KETTLE, TOASTER], copies=[(1, place)]).open(tmp_path / "snapshot") as retriever:
        hits = retriever.search(question("Descale the kettle every month."), ANY)
    assert hits[0].passage.copies == (place,)
    assert hits[1].passage.copies == ()


def test_an_empty_snapshot_finds_nothing(tmp_path: Path) -> None:
    with Shelf([document("a.md", ["x"])], left_out=frozenset({0})).open(tmp_path / "s") as opened:
        for mode in ("dense", "lexical", "hybrid"):
            assert opened.search(question("x"), _with(ANY, mode=mode)) == []
        assert opened.demonstrations(vector("x"), 3) == []


def test_many_threads_read_at_once(retriever: Retriever) -> None:
    settings = _with(ANY, mode="hybrid", neighbours=1, diversity=0.2)
    expected = retriever.search(question("The toaster's tray"), settings)
    with ThreadPoolExecutor(8) as pool:
        found = list(
            pool.map(
                lambda _: retriever.search(question("The toaster's tray"), settings), range(200)
            )
        )
    assert all(hits == expected for hits in found)


def test_a_vector_of_another_embedder_is_a_store_error(retriever: Retriever) -> None:
    with pytest.raises(StoreError, match="index of 32"):
        retriever.search(Question("x", np.ones(384, dtype=np.float32)), ANY)
