"""Markers are checked against what was shown, and each leads to its span."""

from hypothesis import given
from hypothesis import strategies as st

from adapters.prompt import Source
from indexer.records import Passage, Sentence
from service.answer.citations import Citations, cite, is_refusal
from service.answer.markers import Markers

TEXT = "The lid is red. Descale it monthly."
SPANS = (Sentence(0, 15), Sentence(16, 35))
PASSAGE = Passage("c1", "care/lid.md", "Care", (), 0, TEXT, SPANS, 0.9)
SOURCES = tuple(
    Source(n, PASSAGE, span.start, span.end, TEXT[span.start : span.end])
    for n, span in enumerate(SPANS, start=1)
)


def cited_in(text: str) -> Citations:
    markers = Markers(SOURCES)
    markers.feed(text)
    markers.end()
    return cite(markers, SOURCES, "support@3", "No.")


def test_a_marker_leads_to_the_span_of_the_document() -> None:
    cited = cited_in("[2] Descale it monthly.")
    (found,) = cited.annotations
    assert TEXT[found["start"] : found["end"]] == found["quote"] == "Descale it monthly."
    assert found["document"] == "care/lid.md"
    assert found["exact"]
    assert found["url_citation"]["url"] == (
        "/v1/domains/support@3/documents/care/lid.md?start=16&end=35"
    )


def test_a_marker_without_a_source_is_taken_out_and_told() -> None:
    cited = cited_in("[9] Something.")
    assert cited.annotations == []
    assert cited.unknown == [9]
    assert cited.text == " Something."


def test_a_misquotation_is_marked_as_not_exact() -> None:
    (found,) = cited_in("[1] The lid is blue.").annotations
    assert not found["exact"]


def test_the_refusal_is_recognised_with_and_without_its_marker() -> None:
    assert is_refusal("[0] No idea.", "No idea.")
    assert is_refusal(" No idea.\n", "No idea.")
    assert not is_refusal("[1] No idea what else.", "No idea.")


@given(st.text(alphabet="[]0123456789, abc", max_size=60))
def test_every_annotation_quotes_the_document_whatever_the_answer(text: str) -> None:
    cited = cited_in(text)
    for found in cited.annotations:
        at = found["url_citation"]
        assert cited.text[at["start_index"] : at["end_index"]].startswith("[")
        assert TEXT[found["start"] : found["end"]] == found["quote"]
