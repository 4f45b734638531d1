"""The catalog keeps whole units, makes them durable together, and says when it cannot."""

import sqlite3
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from indexer.errors import StoreError
from indexer.reading.layout import Line, to_document
from indexer.records import Chunk, Document, Rejected, Sentence
from indexer.store.catalog import VERSION, Catalog
from indexer.store.journal import PUBLISHED, QUARANTINED, FileEntry, Journal, Taken
from indexer.store.pieces import KeyedChunk, Pieces, VectorCache, prune_vectors, text_key
from indexer.store.tables import chunk_row


def _document(path: str, text: str = "One. Two.") -> Document:
    return to_document(path, "T", [Line("paragraph", 0, text)], "0" * 64)


def _taken(path: str, text: str = "One. Two.", **masked: int) -> Taken:
    return Taken(_document(path, text), masked)


def _entry(path: str, size: int = 9) -> FileEntry:
    return FileEntry(path, size, 1, 2, "s", "r")


def _chunk(name: str, path: str, start: int = 2) -> KeyedChunk:
    chunk = Chunk(name, path, start, start + 4, ("A", "Ü > b"), (Sentence(start, start + 4),))
    return KeyedChunk(chunk, text_key("passage", name))


@pytest.fixture
def catalog(tmp_path: Path) -> Iterator[Catalog]:
    with Catalog(tmp_path / "catalog.db") as opened:
        yield opened


@pytest.fixture
def journal(catalog: Catalog) -> Journal:
    return Journal(catalog)


def _paths(catalog: Catalog) -> list[str]:
    return [path for path, *_ in Pieces(catalog).documents()]


def test_a_file_is_given_back_with_its_documents(journal: Journal) -> None:
    entry = FileEntry("a.jsonl", 1, 2, 3, "s", "r", "read", (Rejected("a.jsonl:2", "bad"),))
    assert journal.put(entry, [_taken("a.jsonl/1", mail=2), _taken("a.jsonl/2", mail=1)])
    assert journal.entry("a.jsonl") == entry
    assert journal.documents("a.jsonl")[0] == _taken("a.jsonl/1", mail=2)
    assert journal.rejected() == [Rejected("a.jsonl:2", "bad")]
    assert journal.masked() == {"mail": 3}


def test_only_documents_that_are_others_than_before_count_as_changed(
    catalog: Catalog, journal: Journal
) -> None:
    pieces = Pieces(catalog)
    journal.put(_entry("a.md"), [_taken("a.md"), _taken("a.md/2")])
    pieces.put("a.md", [_chunk("1", "a.md")], "r")
    pieces.put("a.md/2", [_chunk("2", "a.md/2")], "r")
    catalog.put_meta(PUBLISHED, "x")
    assert not journal.put(_entry("a.md", 10), [_taken("a.md"), _taken("a.md/2")])
    assert catalog.meta(PUBLISHED) == "x"
    assert journal.put(_entry("a.md"), [_taken("a.md"), _taken("a.md/2", "New.")])
    assert catalog.meta(PUBLISHED) == ""
    assert [d.path for d in pieces.unsplit("r")] == ["a.md/2"]
    assert [chunk[0] for chunk, _, _ in pieces.chunks()] == ["1"]


def test_a_document_that_its_file_no_longer_gives_is_forgotten(
    catalog: Catalog, journal: Journal
) -> None:
    journal.put(_entry("a"), [_taken("a/1"), _taken("a/2")])
    assert journal.put(_entry("a"), [_taken("a/2")])
    assert _paths(catalog) == ["a/2"]
    journal.forget("a")
    journal.forget("never")
    assert (_paths(catalog), journal.entry("a")) == ([], None)


@pytest.mark.parametrize("order", [("a", "b"), ("b", "a")])
def test_of_two_files_with_one_document_path_the_first_by_name_has_it(
    journal: Journal, order: tuple[str, str]
) -> None:
    for file in order:
        journal.put(_entry(file), [_taken("a/1", file)])
    assert [t.document.text for t in journal.documents("a")] == ["T\na"]
    assert journal.documents("b") == []
    entry = journal.entry("b")
    assert entry is not None
    # The one that lost its path is read again, and then finds it taken.
    assert entry.rejected or entry.reader == ""


def test_quarantined_files_are_in_the_journal(journal: Journal) -> None:
    bad = FileEntry("x.pdf", 1, 2, 3, "s", "r", QUARANTINED, (Rejected("x.pdf", "is damaged"),))
    assert not journal.put(bad)
    assert list(journal.entries()) == [bad]


def test_chunks_come_in_order_of_path_and_place(catalog: Catalog, journal: Journal) -> None:
    pieces = Pieces(catalog)
    for path in ("b", "a"):
        journal.put(_entry(path), [_taken(path)])
    pieces.put("b", [_chunk("2", "b"), _chunk("1", "b", start=7)], "r")
    pieces.put("a", [_chunk("3", "a")], "old")
    assert [chunk[0] for chunk, _, _ in pieces.chunks()] == ["3", "2", "1"]
    first = _chunk("3", "a")
    assert next(pieces.chunks()) == (chunk_row(first.chunk), first.key, first.sketch)
    assert pieces.count_unsplit("r") == 1
    pieces.put("b", [_chunk("4", "b")], "r")
    assert pieces.chunks_of("b") == [_chunk("4", "b")]


def test_vectors_are_kept_by_key_and_fingerprint(catalog: Catalog) -> None:
    vectors = {text_key("passage", str(i)): np.full(3, i, dtype=np.float32) for i in range(1200)}
    first, other = VectorCache(catalog, "f"), VectorCache(catalog, "g")
    first.put(vectors)
    other.put({text_key("passage", "1"): np.zeros(3, dtype=np.float32)})
    keys = list(vectors)
    assert first.known([*keys, b"unknown"]) == set(keys)
    assert np.array_equal(first.get(keys[::-1]), np.stack(list(vectors.values()))[::-1])
    with pytest.raises(KeyError):
        other.get(keys)
    prune_vectors(catalog, ["f"], keys[:2])
    assert first.known(keys) == set(keys[:2])
    assert VectorCache(catalog, "g").known(keys) == set()


def test_a_text_is_known_by_its_role_too() -> None:
    assert text_key("passage", "a") != text_key("question", "a")


def test_what_has_no_vector_yet_is_found(catalog: Catalog, journal: Journal) -> None:
    pieces, vectors = Pieces(catalog), VectorCache(catalog, "f")
    for path in ("a", "b", "c"):
        journal.put(_entry(path), [_taken(path)])
        pieces.put(path, [_chunk(path, path), _chunk("same", path, 7)], "r")
    vectors.put(
        {text_key("passage", text): np.zeros(3, dtype=np.float32) for text in ("b", "same")}
    )
    assert list(vectors.unembedded()) == ["a", "c"]
    assert vectors.count_unembedded() == 2


def test_a_unit_that_fails_leaves_nothing_of_itself(catalog: Catalog, journal: Journal) -> None:
    pieces = Pieces(catalog)
    journal.put(_entry("a"), [_taken("a")])
    pieces.put("a", [_chunk("1", "a")], "r")
    unstorable = KeyedChunk(Chunk([], "a", 0, 4, (), ()), b"k")  # type: ignore[arg-type]
    with pytest.raises(StoreError):
        pieces.put("a", [_chunk("2", "a"), unstorable], "r")
    assert [chunk[0] for chunk, _, _ in pieces.chunks()] == ["1"]


def test_what_was_written_is_there_when_opened_again(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "catalog.db"
    with Catalog(path) as catalog:
        Journal(catalog).put(_entry("a"), [_taken("a")])
        catalog.put_meta("k", "1")
    with Catalog(path) as catalog:
        assert _paths(catalog) == ["a"]
        assert (catalog.meta("k"), catalog.meta("other")) == ("1", "")


def test_units_become_durable_together_within_a_second(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "catalog.db"
    now = 100.0
    monkeypatch.setattr("indexer.store.catalog.time.monotonic", lambda: now)
    with Catalog(path) as catalog:
        catalog.put_meta("k", "1")
        assert Catalog.read_only(path).meta("k") == ""
        now += 1.1
        catalog.put_meta("l", "2")
        assert [Catalog.read_only(path).meta(key) for key in "kl"] == ["1", "2"]


def test_a_look_writes_nothing(tmp_path: Path) -> None:
    path = tmp_path / "catalog.db"
    with Catalog.read_only(path) as catalog:
        assert catalog.meta("k") == ""
    assert list(tmp_path.iterdir()) == []
    Catalog(path).close()
    with Catalog.read_only(path) as catalog:
        catalog.scratch("CREATE TEMP TABLE t(x)")
        with pytest.raises(StoreError):
            catalog.put_meta("k", "1")
    assert list(tmp_path.iterdir()) == [path]


def test_a_file_that_is_no_database_is_a_store_error_and_stays(tmp_path: Path) -> None:
    path = tmp_path / "catalog.db"
    path.write_bytes(b"something else " * 100)
    with pytest.raises(StoreError, match=r"catalog\.db.*Move the file away"):
        Catalog(path)
    assert path.read_bytes().startswith(b"something else")


def _give_format(path: Path, version: int) -> None:
    Catalog(path).close()
    database = sqlite3.connect(path)
    database.execute(f"PRAGMA user_version={version}")
    database.execute("CREATE TABLE leftover(x)")
    database.close()


def test_a_catalog_of_a_newer_format_is_refused(tmp_path: Path) -> None:
    _give_format(tmp_path / "catalog.db", 99)
    for opens in (Catalog, Catalog.read_only):
        with pytest.raises(StoreError, match="format 99"):
            opens(tmp_path / "catalog.db")


def test_a_catalog_of_an_older_format_is_made_anew(tmp_path: Path) -> None:
    _give_format(tmp_path / "catalog.db", VERSION - 1)
    assert Catalog.read_only(tmp_path / "catalog.db").meta("k") == ""
    with Catalog(tmp_path / "catalog.db") as catalog:
        assert catalog.rows("SELECT 1 FROM sqlite_master WHERE name = 'leftover'") == []
        catalog.put_meta("k", "1")


def test_a_full_database_is_a_store_error_and_keeps_what_was_committed(
    catalog: Catalog, journal: Journal
) -> None:
    journal.put(_entry("a"), [_taken("a")])
    catalog.commit()
    [(pages,)] = catalog.rows("PRAGMA page_count")
    catalog.scratch(f"PRAGMA max_page_count={pages}")
    with pytest.raises(StoreError, match="Free some disk space"):
        journal.put(_entry("b"), [_taken("b", "long " * 100_000)])
    assert _paths(catalog) == ["a"]
