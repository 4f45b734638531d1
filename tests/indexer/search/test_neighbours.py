"""A hit brings what stands around it, and every offset stays the document's own."""

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from indexer.domain import RetrievalSettings
from indexer.search.retriever import Hit
from tests.indexer.search.shelf import Shelf, document, question

LINES = [f"Sentence number {n} is about {word}." for n, word in enumerate("abcdefgh")]
GUIDE = document("guide.md", LINES, pages=(0, 100))
OTHER = document("other.md", ["Sentence of another."])


def _search(shelf: Shelf, folder: Path, text: str, **changes: Any) -> list[Hit]:
    wanted = RetrievalSettings(min_passage_score=-1.0).model_copy(update=changes)
    with shelf.open(folder) as retriever:
        return retriever.search(question(text), wanted)


@pytest.mark.parametrize(
    ("hit", "neighbours", "first", "last"), [(3, 1, 2, 4), (0, 1, 0, 1), (7, 2, 5, 7), (4, 0, 4, 4)]
)
def test_neighbours_are_joined_within_the_document(
    tmp_path: Path, hit: int, neighbours: int, first: int, last: int
) -> None:
    (found,) = _search(
        Shelf([GUIDE, OTHER]), tmp_path / "s", LINES[hit], passages=1, neighbours=neighbours
    )
    passage = found.passage
    assert passage.text == "\n".join(LINES[first : last + 1])
    assert passage.sentence_texts() == tuple(LINES[first : last + 1])
    assert passage.score == pytest.approx(1.0, abs=1e-5)
    assert passage.page == GUIDE.page(passage.start)
    assert GUIDE.text[passage.start :].startswith(passage.text)


def test_hits_that_share_a_neighbour_become_one_in_the_better_place(tmp_path: Path) -> None:
    shelf = Shelf([GUIDE, OTHER])
    apart = _search(shelf, tmp_path / "a", LINES[3], passages=9)
    assert len(apart) == 9
    together = _search(shelf, tmp_path / "b", LINES[3], passages=9, neighbours=1)
    assert [hit.passage.document for hit in together] == ["guide.md", "other.md"]
    assert together[0].passage.text == GUIDE.text
    assert together[0].passage.chunk == apart[0].passage.chunk


def test_chunks_that_overlap_repeat_nothing(tmp_path: Path) -> None:
    shelf = Shelf([GUIDE], lines=3, overlap=1)
    (found,) = _search(shelf, tmp_path / "s", "\n".join(LINES[2:5]), passages=1, neighbours=1)
    assert found.passage.text == "\n".join(LINES[:7])
    assert found.passage.sentence_texts() == tuple(LINES[:7])


def test_a_chunk_that_was_dropped_as_a_duplicate_is_bridged_unless_it_is_long(
    tmp_path: Path,
) -> None:
    near = Shelf([GUIDE], left_out=frozenset({4}))
    (found,) = _search(near, tmp_path / "near", LINES[3], passages=1, neighbours=1)
    assert found.passage.text == "\n".join(LINES[2:6])
    assert found.passage.sentence_texts() == (*LINES[2:4], LINES[5])
    long = document("long.md", ["Before it.", "very " * 100 + "long.", "After it."])
    far = Shelf([long], left_out=frozenset({1}))
    (found,) = _search(far, tmp_path / "far", "Before it.", passages=1, neighbours=1)
    assert found.passage.text == "Before it."


@settings(max_examples=25)
@given(
    lines=st.integers(1, 3),
    overlap=st.integers(0, 2),
    neighbours=st.integers(0, 4),
    passages=st.integers(1, 6),
    words=st.lists(st.sampled_from("kettle tray é 中 hums".split()), min_size=1, max_size=12),
)
def test_every_text_is_the_documents_and_holds_its_sentences(
    tmp_path_factory: pytest.TempPathFactory,
    lines: int,
    overlap: int,
    neighbours: int,
    passages: int,
    words: list[str],
) -> None:
    one = document("one.md", [f"{word} {n}." for n, word in enumerate(words)])
    two = document("two.md", [f"{word} {n}!" for n, word in enumerate(reversed(words))])
    texts = {"one.md": one.text, "two.md": two.text}
    shelf = Shelf([one, two], lines=lines, overlap=min(overlap, lines - 1))
    folder = tmp_path_factory.mktemp("made") / "s"
    hits = _search(shelf, folder, "kettle tray", passages=passages, neighbours=neighbours)
    assert 1 <= len(hits) <= passages
    spans = []
    for passage in (hit.passage for hit in hits):
        text, end = texts[passage.document], passage.start + len(passage.text)
        assert text[passage.start : end] == passage.text
        for sentence, quote in zip(passage.sentences, passage.sentence_texts(), strict=True):
            assert passage.start <= sentence.start < sentence.end <= end
            assert text[sentence.start : sentence.end] == quote
        assert len(set(passage.sentences)) == len(passage.sentences)
        spans.append((passage.document, passage.start, end))
    assert len(set(spans)) == len(spans)
