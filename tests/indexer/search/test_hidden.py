"""What was deleted since the snapshot was made is found no more, by any mode, at once."""

from contextlib import closing
from pathlib import Path

from indexer.domain import RetrievalSettings
from indexer.records import Place
from indexer.search.filters import parse_filter
from indexer.search.retriever import Retriever
from indexer.store.snapshot import open_snapshot
from tests.indexer.search.shelf import Shelf, document, question

ANY = RetrievalSettings(min_passage_score=-1.0, passages=10)
KETTLE = document("kettle.md", ["The kettle boils.", "The kettle hums."], {"kind": "big"})
TOASTER = document("toaster.md", ["The toaster pops.", "The kettle boils."], {"kind": "small"})
MODES = ("dense", "lexical", "hybrid")


def _documents(retriever: Retriever, mode: str) -> set[str]:
    settings = ANY.model_copy(update={"mode": mode})
    hits = retriever.search(question("kettle and toaster"), settings)
    return {hit.passage.document for hit in hits}


def test_a_deleted_document_is_gone_at_the_next_question_and_comes_back(tmp_path: Path) -> None:
    hidden: dict[str, str] = {}
    snapshot = open_snapshot(Shelf([KETTLE, TOASTER]).write(tmp_path / "snapshot"))
    with closing(Retriever(snapshot, lambda: hidden)) as retriever:
        for mode in MODES:
            assert _documents(retriever, mode) == {"kettle.md", "toaster.md"}
        hidden = {"kettle.md": KETTLE.id}
        for mode in MODES:
            assert _documents(retriever, mode) == {"toaster.md"}
        hidden = {"kettle.md": KETTLE.id, "toaster.md": TOASTER.id}
        for mode in MODES:
            assert _documents(retriever, mode) == set()
        hidden = {}
        assert _documents(retriever, "hybrid") == {"kettle.md", "toaster.md"}


def test_the_same_path_with_other_content_is_another_document(tmp_path: Path) -> None:
    hidden = {"kettle.md": "of other content", "unknown.md": "x"}
    with Shelf([KETTLE, TOASTER]).open(tmp_path / "snapshot", hidden) as retriever:
        assert _documents(retriever, "dense") == {"kettle.md", "toaster.md"}


def test_a_deleted_document_that_is_like_another_is_shown_nowhere(tmp_path: Path) -> None:
    same = document("pot.md", ["The kettle boils.", "The kettle hums."])
    copies = [(0, Place("pot.md", 0, 17)), (1, Place("pot.md", 18, 34))]
    shelf = Shelf([KETTLE, same], left_out=frozenset({2, 3}), copies=copies)
    for deleted, kept in ((KETTLE, "pot.md"), (same, "kettle.md")):
        hidden = {deleted.path: deleted.id}
        with shelf.open(tmp_path / deleted.path / "snapshot", hidden) as retriever:
            for mode in MODES:
                settings = ANY.model_copy(update={"mode": mode})
                hits = retriever.search(question("kettle"), settings)
                assert {hit.passage.document for hit in hits} == {kept}
                assert not any(hit.passage.copies for hit in hits)


def test_what_a_deleted_document_shared_is_shown_where_it_still_stands(tmp_path: Path) -> None:
    shelf = Shelf(
        [KETTLE, TOASTER], left_out=frozenset({3}), copies=[(0, Place("toaster.md", 18, 35))]
    )
    with shelf.open(tmp_path / "snapshot", {"kettle.md": KETTLE.id}) as retriever:
        hits = retriever.search(question("The kettle boils."), ANY)
        assert [(h.passage.document, h.passage.text) for h in hits] == [
            ("toaster.md", "The kettle boils."),
            ("toaster.md", "The toaster pops."),
        ]
        assert hits[0].passage.copies == ()
        both = parse_filter({"kind": "big"})
        assert retriever.search(question("The kettle boils."), ANY, both) == []
    with shelf.open(tmp_path / "again", {"toaster.md": TOASTER.id}) as retriever:
        best = retriever.search(question("The kettle boils."), ANY)[0].passage
        assert (best.document, best.copies) == ("kettle.md", ())
