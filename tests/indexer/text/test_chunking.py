"""Chunks hold whole sentences within the budget, below the headings they stand under."""

import time
from functools import partial

import pytest
from hypothesis import given
from hypothesis import strategies as st

from indexer.domain import ChunkingSettings
from indexer.reading.layout import Line, to_document
from indexer.reading.markdown import read_markdown
from indexer.records import Chunk, Document
from indexer.text.chunking import quotable, split, with_context
from indexer.text.counting import WordCounter
from tests.indexer.text.tokenizers_of_each_kind import KINDS, count


def _count(text: str) -> int:
    return len(text.split())


def _document(markdown: str) -> Document:
    found = read_markdown(markdown)
    return to_document("a.md", found.title, found.lines, "0" * 64)


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


@pytest.mark.parametrize("kind", KINDS)
@given(lines=_LINES, settings=_SETTINGS)
def test_no_chunk_is_longer_than_the_model_reads_whatever_its_tokenizer(
    kind: str, lines: list[Line], settings: ChunkingSettings
) -> None:
    document = to_document("a.md", "A title", lines, "0" * 64)
    counter = WordCounter(partial(count, kind))
    limit = settings.tokens + 10
    for chunk in split(document, settings, counter, limit):
        text = document.text[chunk.start : chunk.end]
        assert count(kind, text) <= (settings.tokens if len(chunk.sentences) > 1 else limit)
        assert count(kind, with_context(document.title, chunk, text, counter, limit)) <= limit


@given(_LINES, _SETTINGS)
def test_the_same_document_gives_the_same_chunks(
    lines: list[Line], settings: ChunkingSettings
) -> None:
    document = to_document("a.md", "T", lines, "0" * 64)
    first = split(document, settings, _count)
    assert first == split(document, settings, WordCounter(_count))
    assert len({chunk.id for chunk in first}) == len(first)


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


def test_each_of_many_tables_names_its_own_columns_and_none_is_looked_for_among_all() -> None:
    tables = [
        "\n".join([f"Part{n} | Room{n}", *(f"Lock{n} | Hall{row}" for row in range(4))])
        for n in range(20_000)
    ]
    kinds = [Line("paragraph", 0, f"Table {n} follows.") for n in range(len(tables))]
    lines = [
        line
        for told, table in zip(kinds, tables, strict=True)
        for line in (told, *(Line("row", 0, row) for row in table.split("\n")))
    ]
    document = to_document("a.md", "Locks", lines, "0" * 64)
    began = time.perf_counter()
    chunks = split(document, ChunkingSettings(tokens=9, overlap=0), _count)
    assert time.perf_counter() - began < 20
    later = [chunk for chunk in chunks if chunk.headings]
    assert len(later) >= len(tables)
    for chunk in later:
        number = document.text[chunk.start :].split(" ", 1)[0].removeprefix("Lock")
        assert chunk.headings == (f"Part{number} | Room{number}",)


def test_a_table_that_goes_on_names_its_columns_again_as_context() -> None:
    rows = "".join(f"| lock {i} | {i} |\n" for i in range(6))
    document = _document(f"# T\n\n## Locks\n\nAs below.\n\n| Part | Room |\n| - | - |\n{rows}")
    chunks = split(document, ChunkingSettings(tokens=16), _count)
    texts = _texts(document, chunks)
    assert [text.count("\n") for text in texts] == [3, 3]
    assert texts[1].startswith("lock 2 | 2\n")
    assert [chunk.headings for chunk in chunks] == [("Locks",), ("Locks", "Part | Room")]


@pytest.mark.parametrize(
    "rows",
    [
        "| 1 | 2 |\n| - | - |\n",
        "| Part: lock | Room: 1 |\n| - | - |\n",
        "| Part | Room | Floor |\n| - | - | - |\n",
    ],
)
def test_a_first_row_that_names_no_columns_is_not_repeated(rows: str) -> None:
    more = "".join(f"| lock {i} | {i} |\n" for i in range(8))
    document = _document(f"# T\n\n{rows}{more}")
    chunks = split(document, ChunkingSettings(tokens=8), _count)
    assert len(chunks) > 2
    assert {chunk.headings for chunk in chunks} == {()}


@pytest.mark.parametrize("mark", ["- {} is", "1. {} is", "    {} is", "| {} | x |"])
def test_a_list_code_or_table_that_fits_is_kept_whole(mark: str) -> None:
    table = "| - | - |\n" if "|" in mark else ""
    first, *others = [mark.format(word) + "\n" for word in ("alpha", "beta", "gamma")]
    document = _document(f"# T\n\nOne two three four five.\n\n{first}{table}{''.join(others)}")
    chunks = split(document, ChunkingSettings(tokens=9), _count)
    texts = _texts(document, chunks)
    assert texts[0] == "One two three four five."
    assert len(texts) == 2
    assert texts[1].startswith("alpha")


def test_what_introduces_a_list_stays_with_it() -> None:
    document = _document("# T\n\nA b c d e. You need:\n\n- salt\n- water\n- a pan\n")
    chunks = split(document, ChunkingSettings(tokens=8), _count)
    assert _texts(document, chunks) == ["A b c d e.", "You need:\nsalt\nwater\na pan"]


def test_a_list_that_does_not_fit_is_parted_between_its_items() -> None:
    items = "".join(f"- Take it {i}. Then use it.\n" for i in range(4))
    document = _document(f"# T\n\nHow it is done:\n\n{items}")
    texts = _texts(document, split(document, ChunkingSettings(tokens=12), _count))
    assert texts == [
        "How it is done:\nTake it 0. Then use it.",
        "Take it 1. Then use it.\nTake it 2. Then use it.",
        "Take it 3. Then use it.",
    ]


def test_a_row_above_the_limit_is_cut_between_its_cells() -> None:
    cells = " | ".join(f"name {i}" for i in range(8))
    document = _document(f"# T\n\n| {cells} |\n{'| - ' * 8}|\n")
    texts = _texts(document, split(document, ChunkingSettings(tokens=9), _count))
    assert all(text.endswith(" |") for text in texts[:-1])
    assert " ".join(texts) == cells


@pytest.mark.parametrize("word", ["ab ", "ab. Cd ", "x", "(a. B", "a1+/"])
def test_a_line_without_end_is_cut_in_a_time_that_grows_with_its_length(word: str) -> None:
    seen = 0

    def counted(text: str) -> int:
        nonlocal seen
        seen += len(text)
        return len(text) // 2 + 1

    line = (word * (200_000 // len(word))).strip()
    document = to_document("a.md", "T", [Line("paragraph", 0, line)], "0" * 64)
    chunks = split(document, ChunkingSettings(), counted, 254)
    assert max(chunk.end - chunk.start for chunk in chunks) <= 16 * 254
    assert seen <= 40 * len(line)


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
