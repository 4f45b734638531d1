"""Chunks hold whole sentences within the budget, below the headings they stand under."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from indexer.domain import ChunkingSettings
from indexer.reading.layout import Line, to_document
from indexer.reading.markup import read_markdown
from indexer.records import Chunk, Document
from indexer.text.chunking import quotable, split, with_context


def _count(text: str) -> int:
    return len(text.split())


def _document(markdown: str) -> Document:
    title, lines = read_markdown(markdown)
    return to_document("a.md", title, lines, "0" * 64)


def _texts(document: Document, chunks: list[Chunk]) -> list[str]:
    return [document.text[chunk.start : chunk.end] for chunk in chunks]


_SENTENCE = st.lists(st.sampled_from("Tea cold 3.5 No. e.g. milk Dr. a".split()), min_size=1)
_LINES = st.lists(
    st.builds(
        lambda kind, words: Line(kind, 2 if kind == "heading" else 0, " ".join(words) + "."),
        st.sampled_from(["heading", "paragraph", "paragraph", "item", "row", "code"]),
        st.lists(_SENTENCE, min_size=1, max_size=8).map(lambda s: [". ".join(map(" ".join, s))]),
    ),
    min_size=1,
    max_size=12,
)
_SETTINGS = st.builds(
    ChunkingSettings, tokens=st.integers(8, 40), overlap=st.integers(min_value=0, max_value=3)
)


@given(_LINES, _SETTINGS)
def test_chunks_cover_every_sentence_in_order_within_the_budget(
    lines: list[Line], settings: ChunkingSettings
) -> None:
    document = to_document("a.md", "T", lines, "0" * 64)
    chunks = split(document, settings, _count)
    covered = [False] * len(document.text)
    starts = [chunk.sentences[0].start for chunk in chunks]
    assert starts == sorted(starts)
    for chunk in chunks:
        assert (chunk.start, chunk.end) == (chunk.sentences[0].start, chunk.sentences[-1].end)
        assert _count(document.text[chunk.start : chunk.end]) <= settings.tokens
        for sentence in chunk.sentences:
            assert "\n" not in document.text[sentence.start : sentence.end]
            covered[sentence.start : sentence.end] = [True] * (sentence.end - sentence.start)
    for block in document.blocks:
        for place in range(block.start, block.end):
            is_text = block.kind not in ("title", "heading") and document.text[place] != " "
            assert covered[place] or not is_text
            assert is_text or document.text[place] == " " or not covered[place]


@given(_LINES, _SETTINGS)
def test_no_sentence_within_the_limit_is_cut(lines: list[Line], settings: ChunkingSettings) -> None:
    document = to_document("a.md", "T", lines, "0" * 64)
    whole = {s for block in document.blocks for s in quotable(document.text, block)}
    found = {s for c in split(document, settings, _count, limit=10_000) for s in c.sentences}
    assert found == whole


@given(_LINES, _SETTINGS)
def test_without_overlap_no_sentence_is_in_two_chunks(
    lines: list[Line], settings: ChunkingSettings
) -> None:
    document = to_document("a.md", "T", lines, "0" * 64)
    alone = settings.model_copy(update={"overlap": 0})
    spans = [s for chunk in split(document, alone, _count) for s in chunk.sentences]
    assert len(spans) == len(set(spans))


def test_headings_begin_a_chunk_and_are_its_context_not_its_text() -> None:
    document = _document("# T\n\nOne.\n\n## A\n\nTwo.\n\n### B\n\nThree.\n\n## C\n\nFour.\n")
    chunks = split(document, ChunkingSettings(), _count)
    assert [chunk.headings for chunk in chunks] == [(), ("A",), ("A", "B"), ("C",)]
    assert _texts(document, chunks) == ["One.", "Two.", "Three.", "Four."]


def test_a_table_row_is_one_sentence() -> None:
    document = _document("# T\n\n| A | B |\n| - | - |\n| One. Two. | Three. |\n")
    (chunk,) = split(document, ChunkingSettings(), _count)
    quotes = [document.text[s.start : s.end] for s in chunk.sentences]
    assert quotes == ["A | B", "One. Two. | Three."]


def test_overlap_repeats_the_last_sentences_that_fit() -> None:
    document = _document("# T\n\nA b c d. E f g. H i j k. L m n o.\n")
    chunks = split(document, ChunkingSettings(tokens=8, overlap=2), _count)
    assert _texts(document, chunks) == ["A b c d. E f g.", "E f g. H i j k.", "H i j k. L m n o."]


def test_a_sentence_above_the_limit_is_cut_between_words() -> None:
    document = _document("# T\n\n" + " ".join(f"w{i}" for i in range(20)) + "\n")
    chunks = split(document, ChunkingSettings(tokens=8), _count)
    assert [_count(text) for text in _texts(document, chunks)] == [8, 8, 4]


def test_a_word_above_the_limit_is_cut_within() -> None:
    document = _document("# T\n\n" + "x" * 50 + "\n")
    chunks = split(document, ChunkingSettings(tokens=8), len)
    assert [len(text) for text in _texts(document, chunks)] == [8, 8, 8, 8, 8, 8, 2]


def test_ids_follow_the_content_and_the_place() -> None:
    one, same, other = (_document(f"# T\n\n{text}\n") for text in ("A.", "A.", "B."))
    ids = [split(document, ChunkingSettings(), _count)[0].id for document in (one, same, other)]
    assert ids[0] == ids[1] != ids[2]


@pytest.mark.parametrize(
    ("room", "expected"),
    [(20, "T t > A a > B b\nbody of text"), (9, "A a > B b\nbody of text"), (3, "body of text")],
)
def test_context_gives_way_where_there_is_no_room(room: int, expected: str) -> None:
    chunk = Chunk("", "a.md", 0, 4, ("A a", "B b"), ())
    assert with_context("T t", chunk, "body of text", _count, room) == expected
