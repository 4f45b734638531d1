"""Sentences end where a reader says they do, and every character belongs to one."""

import re
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from indexer.text import sentences as module
from indexer.text.sentences import split_sentences

_WORDS = st.sampled_from(
    [
        *("The", "valve", "Dr.", "e.g.", "No.", "5", "3.5", "J.", "etc.", "U.S.", "(see", "it.)"),
        *("opens!", "Why?", '"Stop."', "end.", "…", "1.", "Ltd.", "p.m.", "x\ny", "。そう", "\t"),
    ]
)
_MARKS = st.text(alphabet="!.?…\"')]”。」 \tAa1\n\x1c\u00a0", max_size=40)
_TEXTS = st.one_of(_MARKS, st.text(), st.lists(_WORDS).map(" ".join))


def _texts(text: str) -> list[str]:
    return [text[sentence.start : sentence.end] for sentence in split_sentences(text)]


@given(_TEXTS)
def test_spans_are_ordered_and_hold_all_text_but_the_space_between(text: str) -> None:
    spans = split_sentences(text)
    position = 0
    for span in spans:
        assert position <= span.start < span.end
        assert not text[position : span.start].strip()
        position = span.end
    assert not text[position:].strip()


@given(_TEXTS)
def test_no_span_begins_or_ends_with_space_or_crosses_a_line(text: str) -> None:
    for sentence in _texts(text):
        assert sentence == sentence.strip()
        assert "\n" not in sentence


@given(_TEXTS)
def test_a_sentence_alone_is_the_same_sentence(text: str) -> None:
    for sentence in _texts(text):
        assert "".join(_texts(sentence)).replace(" ", "") == sentence.replace(" ", "")


@pytest.mark.parametrize(
    "sentences",
    [
        ["The valve opens.", "It closes again!", "Why?", "Nobody knows…", "Still."],
        ["Mix 3.5 g with 1,000 ml.", "30 minutes later it is ready."],
        ["Use a filter, e.g. Larkfield LF-W1, i.e. The small one.", "Rinse it."],
        ["Dr. Pellow and Mrs. J. R. Tennick agree.", "Prof. Crake does not."],
        ["See No. 5 and Fig. 2 on p. 12.", "The answer is no.", "That is all."],
        ["It belongs to Harrowgate Instruments Ltd.", "The premises are let."],
        ["We open at 8 a.m.", "Please ring.", "Ring at 5 p.m. on weekdays."],
        ["It is free from bisphenol A.", "The seals are not."],
        ['He said "Stop."', "She did."],
        ["It is late (see page 3. It explains why.) and dark.", "Go home."],
        ["Visit https://example.org/a.b?c=d. now.", "Then go."],
        ["1. Close the lid.", "Open it."],
        ["Wait ... then go.", "Wait...", "Then go."],
        ["What?!", "Yes."],
        ["Version 2.0 is out.", "iPhones are not."][:1],
        ["これは文です。", "次の文です。"],
    ],
)
def test_a_text_is_split_as_a_reader_would(sentences: list[str]) -> None:
    assert _texts(" ".join(sentences)) == sentences


def test_a_line_ends_a_sentence() -> None:
    assert _texts("Price list\nOne cup: £3\n\n  Two cups. £5 ") == [
        "Price list",
        "One cup: £3",
        "Two cups.",
        "£5",
    ]


@pytest.mark.parametrize("run", ["!" * 300_000, ".)" * 150_000, "!" + ")" * 300_000])
def test_a_run_of_marks_takes_no_longer_than_a_text_of_its_length(run: str) -> None:
    started = time.monotonic()
    assert _texts(f"Wait{run}x") == [f"Wait{run}x"]
    assert _texts(f"Wait{run} Then go.") == [f"Wait{run}", "Then go."]
    assert time.monotonic() - started < 5


@given(_TEXTS)
def test_marks_that_no_space_follows_end_nothing(text: str) -> None:
    """As if only marks with a space behind them were looked at, which takes the square of a run."""
    followed = re.compile(r"[.!?…]+[\"'”’»)\]]*(?=\s)|[。！？]+[”’」』）]*")  # noqa: RUF001
    found = split_sentences(text)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "_END", followed)
        assert split_sentences(text) == found
