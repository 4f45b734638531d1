"""Tokens counted word by word are as many as the tokenizer makes of the whole."""

from functools import partial

import pytest
from hypothesis import given
from hypothesis import strategies as st

from indexer.reading.layout import clean
from indexer.text.counting import WordCounter
from tests.indexer.text.tokenizers_of_each_kind import KINDS, count

_PIECES = st.sampled_from(
    "kettle Kettle 3.5 (a, £2.50 | it's x² naïve 日本 \n \t : e.g. -".split(" ")
)
# As in a document: nothing invisible, and no white space but a blank or a new line.
_TEXTS = st.one_of(st.lists(_PIECES).map(" ".join), st.text().map(clean))


@pytest.mark.parametrize("kind", KINDS)
@given(text=_TEXTS)
def test_a_text_has_as_many_tokens_as_its_tokenizer_makes(kind: str, text: str) -> None:
    assert _COUNTERS[kind](text) == count(kind, text)


_COUNTERS = {kind: WordCounter(partial(count, kind)) for kind in KINDS}


def test_a_word_is_tokenised_once() -> None:
    asked: list[str] = []

    def counted(text: str) -> int:
        asked.append(text)
        return len(text.split())

    counter = WordCounter(counted)
    asked.clear()
    assert [counter("tea and tea"), counter("and tea"), counter("")] == [3, 2, 0]
    assert asked == ["tea", "and"]


def test_a_tokenizer_for_which_words_do_not_add_up_is_asked_every_time() -> None:
    asked: list[str] = []

    def counted(text: str) -> int:
        asked.append(text)
        return len(text)

    counter = WordCounter(counted)
    asked.clear()
    assert [counter("a b"), counter("a b")] == [3, 3]
    assert asked == ["a b", "a b"]


def test_words_beyond_number_are_not_all_remembered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("indexer.text.counting._WORDS", 10)
    counter = WordCounter(lambda text: len(text.split()))
    assert counter(" ".join(f"w{i}" for i in range(100))) == 100
    assert len(counter._known) <= 10
