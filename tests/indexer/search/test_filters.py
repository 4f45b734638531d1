"""A filter finds the documents whose fields satisfy it, and says what is wrong with one."""

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from indexer.domain import RetrievalSettings
from indexer.errors import BadInput
from indexer.records import Place
from indexer.search.filters import parse_filter
from indexer.search.retriever import Retriever
from tests.indexer.search.shelf import Shelf, document, question

ANY = RetrievalSettings(min_passage_score=-1.0, passages=10)
DOCUMENTS = [
    document("a.md", ["rail one", "rail two"], {"team": "rail", "year": 2019, "draft": True}),
    document(
        "b.md", ["bus one"], {"team": "bus", "year": 2021, "draft": False, "on": "2024-02-01"}
    ),
    document("c.md", ["tram one"], {"team": "tram", "year": 1, "on": "2024-11-30", "ratio": 0.5}),
    document("d.md", ["nothing known"]),
]


@pytest.fixture
def retriever(tmp_path: Path) -> Iterator[Retriever]:
    with Shelf(DOCUMENTS).open(tmp_path / "snapshot") as opened:
        yield opened


def _found(retriever: Retriever, wanted: dict[str, Any], **settings: Any) -> list[str]:
    hits = retriever.search(
        question("one two"), ANY.model_copy(update=settings), parse_filter(wanted)
    )
    return sorted({hit.passage.document for hit in hits})


@pytest.mark.parametrize(
    ("wanted", "found"),
    [
        ({}, ["a.md", "b.md", "c.md", "d.md"]),
        ({"team": "rail"}, ["a.md"]),
        ({"team": ["rail", "tram", "ship"]}, ["a.md", "c.md"]),
        ({"team": "ship"}, []),
        ({"year": 2021}, ["b.md"]),
        ({"year": 2021.0}, ["b.md"]),
        ({"year": "2021"}, ["b.md"]),
        ({"year": {"gte": 2019}}, ["a.md", "b.md"]),
        ({"year": {"gt": 2019, "lte": 2021}}, ["b.md"]),
        ({"year": {"lt": 10**40}}, ["a.md", "b.md", "c.md"]),
        ({"ratio": {"lt": 0.6}}, ["c.md"]),
        ({"on": {"gte": "2024-02-01", "lt": "2024-03"}}, ["b.md"]),
        ({"draft": True}, ["a.md"]),
        ({"draft": False}, ["b.md"]),
        ({"team": ["rail", "bus"], "year": {"gte": 2020}}, ["b.md"]),
        ({"team": "rail", "year": 2021}, []),
    ],
)
def test_every_condition_must_hold(
    retriever: Retriever, wanted: dict[str, Any], found: list[str]
) -> None:
    assert _found(retriever, wanted) == found
    assert _found(retriever, wanted) == found  # as remembered


def test_all_modes_obey(retriever: Retriever) -> None:
    for mode in ("lexical", "hybrid"):
        assert _found(retriever, {"team": ["rail", "bus"]}, mode=mode) == ["a.md", "b.md"]
        assert _found(retriever, {"team": "ship"}, mode=mode) == []


@pytest.mark.parametrize(
    ("wanted", "reason"),
    [
        ({"teem": "rail"}, r"no field.*'teem'|field 'teem'.*Known fields: draft, on, ratio, team"),
        ({"team": 3}, "holds text, and 3 is not"),
        ({"year": {"gte": "2020"}}, "holds numbers, and '2020' is not"),
        ({"draft": 1}, "holds yes or no, and 1 is not"),
        ({"year": True}, "holds numbers, and True is not"),
        ({"year": {"around": 3}}, "'around'.*gt, gte, lt, lte"),
        ({"year": {"lt": True}}, "compares with yes or no"),
        ({"team": None}, "value 'None'"),
        ({"team": []}, "has 0 values"),
        ({"team": {}}, "has 0 values"),
        ({"team": [["rail"]]}, "the value"),
        ({"team": "\ud800"}, "the value"),
        ({"year": 10**400}, "the value"),
    ],
)
def test_what_cannot_be_asked_is_named(
    retriever: Retriever, wanted: dict[str, Any], reason: str
) -> None:
    with pytest.raises(BadInput, match=reason):
        _found(retriever, wanted)


def test_without_any_field_the_reason_says_so(tmp_path: Path) -> None:
    with (
        Shelf([document("d.md", ["nothing known"])]).open(tmp_path / "snapshot") as opened,
        pytest.raises(BadInput, match="No document of this domain has any field"),
    ):
        _found(opened, {"team": "rail"})


def test_a_copy_answers_for_a_document_that_the_filter_leaves_out(tmp_path: Path) -> None:
    """And nothing tells of the one left out: a filter may be there to keep it from somebody."""
    rail = document("a.md", ["Doors close by themselves.", "Rail only."], {"team": "rail"})
    bus = document("b.md", ["Bus only.", "Doors close by themselves."], {"team": "bus"}, (0, 5))
    near = document("c.md", ["Doors close. By themselves!"], {"team": "tram"})
    shelf = Shelf(
        [rail, bus, near],
        left_out=frozenset({3, 4}),
        copies=[(0, Place("b.md", 10, 36)), (0, Place("c.md", 0, 27))],
    )
    asked = question("Doors close by themselves.")
    with shelf.open(tmp_path / "snapshot") as opened:
        (of_bus, _) = opened.search(asked, ANY, parse_filter({"team": "bus"}))
        (of_tram,) = opened.search(asked, ANY, parse_filter({"team": "tram"}))
        (of_rail, _) = opened.search(asked, ANY, parse_filter({"team": "rail"}))
    for hit, place in ((of_bus, bus), (of_tram, near), (of_rail, rail)):
        passage = hit.passage
        assert (passage.document, passage.title) == (place.path, place.path)
        assert passage.copies == ()
        assert place.text[passage.start : passage.start + len(passage.text)] == passage.text
        quotes = [place.text[s.start : s.end] for s in passage.sentences]
        assert list(passage.sentence_texts()) == quotes
    assert of_bus.passage.sentence_texts() == ("Doors close by themselves.",)
    assert of_bus.passage.page == 2
    assert of_tram.passage.sentence_texts() == ("Doors close.", "By themselves!")


@given(
    st.dictionaries(
        st.text(max_size=5),
        st.recursive(
            st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
            lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
        ),
        max_size=3,
    )
)
def test_anything_else_is_a_filter_or_bad_input(given: dict[str, Any]) -> None:
    with contextlib.suppress(BadInput):
        wanted = parse_filter(given)
        assert (wanted is None) == (not given)
        assert hash(wanted) == hash(parse_filter(given))
        query, values = wanted.documents() if wanted else ("", [])
        assert query.count("?") == len(values)
