"""The best sentence is the one that means and says what was asked."""

import pytest

from indexer.records import Passage, Sentence
from indexer.search.quoting import best_sentences, word_overlaps
from indexer.text.sentences import split_sentences
from tests.indexer.hash_embedder import HashEmbedder

_QUESTION = "How often should I descale the kettle?"


def _passage(text: str, document: str = "a.md", start: int = 100, score: float = 0.5) -> Passage:
    spans = [Sentence(start + s.start, start + s.end) for s in split_sentences(text)]
    return Passage("c", document, "T", (), start, text, tuple(spans), score)


def _best(passages: list[Passage], limit: int = 9) -> list[tuple[str, str]]:
    embedder = HashEmbedder()
    vector = embedder.embed_queries([_QUESTION])[0]
    quotes = best_sentences(_QUESTION, passages, embedder.embed_passages, vector, limit)
    assert [q.score for q in quotes] == sorted((q.score for q in quotes), reverse=True)
    assert all(quote.score <= 1.0 + 1e-6 for quote in quotes)
    return [(quote.passage.document, quote.text) for quote in quotes]


def test_the_sentence_with_the_questions_words_comes_first() -> None:
    passages = [_passage("It is blue. Descale the kettle each month. The kettle is big.")]
    assert _best(passages)[0] == ("a.md", "Descale the kettle each month.")
    assert len(_best(passages)) == 3
    assert len(_best(passages, limit=2)) == 2


def test_a_sentence_that_two_passages_hold_is_quoted_once_from_the_better() -> None:
    passages = [
        _passage("Descale the kettle.", "worse.md", score=0.4),
        _passage("Descale the kettle.", "better.md", score=0.6),
    ]
    assert _best(passages) == [("better.md", "Descale the kettle.")]


def test_nothing_found_is_nothing_quoted() -> None:
    assert _best([]) == []
    assert _best([_passage("Descale it.")], limit=0) == []


@pytest.mark.parametrize(("text", "share"), [("Descaling kettles often.", 1.0), ("Blue.", 0.0)])
def test_overlap_is_a_share_of_the_questions_words(text: str, share: float) -> None:
    assert word_overlaps(_QUESTION, [text]) == [pytest.approx(share)]


def test_a_rare_word_counts_more_than_a_common_one() -> None:
    texts = ["kettle a", "kettle b", "kettle c", "descaling d"]
    overlaps = word_overlaps("descale kettle", texts)
    assert overlaps[3] > overlaps[0] > 0
