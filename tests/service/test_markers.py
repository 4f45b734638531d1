"""Unknown markers leave an answer however it is cut into pieces, and nothing else does."""

import itertools
import re

from hypothesis import example, given
from hypothesis import strategies as st

from adapters.markers import LONGEST, MARKER, parse_citations
from adapters.prompt import REFUSAL_ID, Source
from indexer.records import Passage, Sentence
from service.answer.markers import Markers

TEXT = "The lid is red. See [12] and [1] of the leaflet."
SPANS = (Sentence(0, 15), Sentence(16, len(TEXT)))
PASSAGE = Passage("c1", "care/lid.md", "Care", (), 0, TEXT, SPANS, 0.9)
SOURCES = tuple(
    Source(n, PASSAGE, span.start, span.end, TEXT[span.start : span.end])
    for n, span in enumerate(SPANS, start=1)
)
KNOWN = {REFUSAL_ID, *(source.id for source in SOURCES)}
ANSWERS = st.one_of(
    st.text(alphabet="[]01239, \nabc", max_size=80),
    st.lists(
        st.sampled_from(["[1]", "[9]", "[2, 9]", "[0]", "[", "]", "1", ", ", "[1,", "[/1]", TEXT]),
        max_size=12,
    ).map("".join),
)


def followed(*parts: str) -> tuple[Markers, str]:
    markers = Markers(SOURCES)
    passed = "".join([*map(markers.feed, parts), markers.end()])
    return markers, passed


def cut(text: str, places: list[int]) -> list[str]:
    bounds = [0, *sorted(place % (len(text) + 1) for place in places), len(text)]
    return [text[start:end] for start, end in itertools.pairwise(bounds)]


@given(ANSWERS, st.lists(st.integers(0, 200), max_size=12))
@example("[[9]1]", [2])
@example("[1,[9]2]", [])
@example("[2] See [12] and [1] of [12]", [9, 12])
def test_any_pieces_give_the_same_text_and_the_same_citations(text: str, places: list[int]) -> None:
    whole, said = followed(text)
    pieces, same = followed(*cut(text, places))
    assert said == same == whole.text == pieces.text
    assert (whole.found, whole.unknown) == (pieces.found, pieces.unknown)


@given(ANSWERS)
@example("[[9]1]")
@example("[1[9], 2]")
@example("[1] [[9]9]")
def test_what_is_passed_on_has_no_unknown_marker_but_in_a_quotation(text: str) -> None:
    markers, said = followed(text)
    quoted = [number for number, *_ in parse_citations(said) if number not in KNOWN]
    assert set(quoted) <= ({12} if TEXT[16:24] in said else set())
    for number, start, end in markers.found:
        assert number in KNOWN
        assert MARKER.fullmatch(said, start, end)


@given(st.text(alphabet="[]0129, \nabc", max_size=80).filter(lambda text: "9" not in text))
def test_an_answer_without_unknown_markers_is_passed_on_as_it_is(text: str) -> None:
    if {number for number, *_ in parse_citations(text)} <= KNOWN:
        markers, said = followed(text)
        assert said == text
        assert markers.unknown == []


@given(ANSWERS)
def test_only_unknown_numbers_are_lost(text: str) -> None:
    """But for brackets, blanks and commas: those of a marker go with the numbers that it loses."""
    markers, said = followed(text)
    left = re.sub(r"[\s,\[\]]", "", text)
    for number in markers.unknown:
        at = re.search(rf"0*{number}", left)
        assert at is not None
        left = left.replace(at[0], "", 1)
    assert len(re.sub(r"[\s,\[\]]", "", said)) == len(re.sub(r"[\s,\[\]]", "", text)) - sum(
        len(digits) for digits in lost(text, said)
    )


def lost(text: str, said: str) -> list[str]:
    """The digits of `text` that `said` lacks, counted."""
    return ["x"] * (sum(map(str.isdigit, text)) - sum(map(str.isdigit, said)))


@given(ANSWERS, st.lists(st.integers(0, 200), max_size=12))
def test_no_more_than_a_marker_is_ever_held_back(text: str, places: list[int]) -> None:
    markers, came, passed = Markers(SOURCES), 0, 0
    for part in cut(text, places):
        came, passed = came + len(part), passed + len(markers.feed(part))
        removed = sum(len(str(n)) + 2 for n in markers.unknown)
        assert came - passed - 6 * removed <= LONGEST
        if "[" not in text[max(0, came - LONGEST) : came]:
            assert markers.text.endswith(text[max(0, came - 5) : came].rpartition("]")[2])


def test_a_list_keeps_what_it_names_rightly() -> None:
    markers, said = followed("Red [1, 9,2] and [8].")
    assert said == "Red [1, 2] and ."
    assert markers.unknown == [9, 8]
    assert markers.found == [(1, 4, 10), (2, 4, 10)]


def test_a_removal_never_makes_a_marker_of_what_stood_around_it() -> None:
    assert followed("[[9]1]")[1] == "[[]1]"
    assert followed("[1[9]2]")[1] == "[1[]2]"
    assert followed("x [9]1]")[1] == "x 1]"


def test_a_marker_in_the_very_words_of_a_source_is_no_citation() -> None:
    markers, said = followed("[2] ", "See [1", "2] and [1] of the leaflet. [12]")
    assert said == "[2] See [12] and [1] of the leaflet. "
    assert [number for number, *_ in markers.found] == [2]
    assert markers.unknown == [12]


def test_where_nothing_is_cited_nothing_is_checked() -> None:
    markers = Markers(None)
    assert markers.feed("rows[9]") + markers.end() == "rows[9]"
