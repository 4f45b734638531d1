"""The catalog gives back what was put, one whole document at a time, and says when it cannot."""

import sqlite3
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from indexer.store.catalog import Catalog
from indexer.errors import StoreError
from indexer.reading.layout import Line, to_document
from indexer.records import Chunk, Demonstration, Document, Sentence


def _document(path: str, text: str = "One. Two.") -> Document:
    return to_document(path, "T", [Line("paragraph", 0, text)], "0" * 64)


def _chunk(name: str, path: str, start: int = 2) -> Chunk:
    return Chunk(name, path, start, start + 4, ("A", "Ü > b"), (Sentence(start, start + 4),))


@pytest.fixture
def catalog(tmp_path: Path) -> Iterator[Catalog]:
    with Catalog(tmp_path / "catalog.db") as opened:
        yield opened


def test_what_is_put_is_given_back_in_order(catalog: Catalog) -> None:
    b, a = _document("b.md"), _document("a.md")
    catalog.put(b, [_chunk("2", "b.md"), _chunk("1", "b.md", start=7)], recipe="r")
    catalog.put(a, [_chunk("3", "a.md")])
    assert catalog.documents() == [a, b]
    assert [chunk.id for chunk in catalog.chunks()] == ["3", "2", "1"]
    assert catalog.chunks()[0] == _chunk("3", "a.md")
    assert catalog.known() == {"a.md": (a.id, ""), "b.md": (b.id, "r")}


def test_a_document_is_replaced_with_its_chunks(catalog: Catalog) -> None:
    catalog.put(_document("a.md"), [_chunk("1", "a.md"), _chunk("2", "a.md")])
    catalog.put(_document("a.md", "New."), [_chunk("3", "a.md")])
    assert [document.text for document in catalog.documents()] == ["T\nNew."]
    assert [chunk.id for chunk in catalog.chunks()] == ["3"]


def test_a_deleted_document_takes_its_chunks_with_it(catalog: Catalog) -> None:
    catalog.put(_document("a.md"), [_chunk("1", "a.md")])
    catalog.delete("a.md")
    catalog.delete("never.md")
    assert (catalog.documents(), catalog.chunks()) == ([], [])


def test_a_put_that_fails_leaves_the_former_document(catalog: Catalog) -> None:
    catalog.put(_document("a.md"), [_chunk("1", "a.md")])
    bad = Chunk("2", "a.md", 0, 4, (), (Sentence(0, "x"),))  # type: ignore[arg-type]
    unstorable = Chunk([], "a.md", 0, 4, (), ())  # type: ignore[arg-type]
    with pytest.raises(StoreError):
        catalog.put(_document("a.md", "New."), [bad, unstorable])
    assert [chunk.id for chunk in catalog.chunks()] == ["1"]
    assert catalog.documents() == [_document("a.md")]


def test_demonstrations_are_replaced_as_a_whole(catalog: Catalog) -> None:
    one, two = Demonstration("b", "q", "a", "g"), Demonstration("a", "r", "b")
    catalog.put_demonstrations([one, two])
    assert catalog.demonstrations() == [two, one]
    catalog.put_demonstrations([one])
    assert catalog.demonstrations() == [one]


def test_vectors_are_kept_by_text_and_fingerprint(catalog: Catalog) -> None:
    vectors = {f"t{i}": np.full(3, i, dtype=np.float32) for i in range(1200)}
    catalog.put_vectors("f", vectors)
    catalog.put_vectors("g", {"t1": np.zeros(3, dtype=np.float32)})
    found = catalog.vectors("f", [*vectors, "unknown"])
    assert found.keys() == vectors.keys()
    assert all(np.array_equal(found[key], vectors[key]) for key in vectors)
    catalog.prune_vectors("f", ["t5"])
    assert catalog.vectors("f", list(vectors)).keys() == {"t5"}
    assert catalog.vectors("g", ["t1"]).keys() == {"t1"}


def test_notes_are_kept(catalog: Catalog) -> None:
    assert catalog.meta("k") is None
    catalog.put_meta("k", "1")
    catalog.put_meta("k", "2")
    assert catalog.meta("k") == "2"


def test_what_was_written_is_there_when_opened_again(tmp_path: Path) -> None:
    with Catalog(tmp_path / "deep" / "catalog.db") as catalog:
        catalog.put(_document("a.md"), [])
    with Catalog(tmp_path / "deep" / "catalog.db") as catalog:
        assert catalog.documents() == [_document("a.md")]


def test_a_file_that_is_no_database_is_a_store_error_and_stays(tmp_path: Path) -> None:
    path = tmp_path / "catalog.db"
    path.write_bytes(b"something else " * 100)
    with pytest.raises(StoreError, match=r"catalog\.db.*Move the file away"):
        Catalog(path)
    assert path.read_bytes().startswith(b"something else")


def test_a_catalog_of_another_format_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "catalog.db"
    Catalog(path).close()
    database = sqlite3.connect(path)
    database.execute("PRAGMA user_version=99")
    database.close()
    with pytest.raises(StoreError, match="format 99"):
        Catalog(path)


def test_a_full_database_is_a_store_error_and_keeps_what_it_had(catalog: Catalog) -> None:
    catalog.put(_document("a.md"), [_chunk("1", "a.md")])
    (pages,) = catalog._db.execute("PRAGMA page_count").fetchone()
    catalog._db.execute(f"PRAGMA max_page_count={pages}")
    with pytest.raises(StoreError, match="Free some disk space"):
        catalog.put(_document("b.md", "long " * 100_000), [])
    assert [document.path for document in catalog.documents()] == ["a.md"]
