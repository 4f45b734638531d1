"""Deleted documents are hidden at once, in every snapshot that holds them, and forgotten later."""

import sqlite3
import threading
from contextlib import closing
from pathlib import Path

import pytest

from indexer.errors import StoreError
from indexer.store.tables import Row
from indexer.store.tombstones import Tombstones, hidden_in


class Store:
    """A domain's folder with snapshots that hold nothing but the names of documents."""

    def __init__(self, home: Path) -> None:
        self.snapshots = home / "snapshots"
        self.file = home / "tombstones.json"
        self.tombstones = Tombstones(self.file)

    def publish(self, name: str, *documents: tuple[str, str]) -> Path:
        folder = self.snapshots / name
        folder.mkdir(parents=True)
        with closing(sqlite3.connect(folder / "records.db")) as database, database:
            database.execute("CREATE TABLE documents(path TEXT PRIMARY KEY, id TEXT)")
            database.executemany("INSERT INTO documents VALUES (?, ?)", documents)
        return folder


class Opened:
    """A snapshot as `hidden_in` reads it; counts how often."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.reads = 0

    def read(self, query: str, *values: str | int) -> list[Row]:
        self.reads += 1
        with closing(sqlite3.connect(self.folder / "records.db")) as database:
            return database.execute(query, values).fetchall()


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path)


def test_what_is_added_is_read_by_others_until_it_is_lifted(store: Store) -> None:
    other = Tombstones(store.file)
    assert other.read() == {}
    store.tombstones.add("uploads/a.md", "1")
    assert other.read() == {"uploads/a.md": "1"}
    store.tombstones.lift("uploads/a.md")
    store.tombstones.lift("uploads/never.md")
    assert other.read() == {}


def test_a_deleted_file_hides_its_rows_in_every_snapshot_and_no_neighbour(store: Store) -> None:
    store.publish("old", ("uploads/a.jsonl/1", "1"))
    new = [("uploads/a.jsonl/1", "2"), ("uploads/a.jsonl/2", "3"), ("uploads/a.jsonl.md", "4")]
    store.publish("new", *new)
    store.publish(".draft-x", ("uploads/a.jsonl/9", "9"))
    store.tombstones.bury("uploads/a.jsonl", store.snapshots)
    (entry,) = store.tombstones.entries().values()
    assert entry.documents == {
        "uploads/a.jsonl/1": frozenset("12"),
        "uploads/a.jsonl/2": frozenset("3"),
    }


def test_a_snapshot_hides_only_the_content_that_was_deleted(store: Store) -> None:
    old = Opened(store.publish("old", ("uploads/a.md", "1"), ("b.md", "2")))
    store.tombstones.bury("uploads/a.md", store.snapshots)
    new = Opened(store.publish("new", ("uploads/a.md", "other"), ("b.md", "2")))
    assert hidden_in(store.tombstones, old)() == {"uploads/a.md": "1"}
    assert hidden_in(store.tombstones, new)() == {}


def test_asking_again_reads_nothing_while_nothing_has_changed(store: Store) -> None:
    opened = Opened(store.publish("one", ("uploads/a.md", "1")))
    hidden = hidden_in(store.tombstones, opened)
    store.tombstones.bury("uploads/a.md", store.snapshots)
    assert hidden() is hidden()
    assert opened.reads == 1


def test_a_job_forgets_what_no_snapshot_holds_any_more(store: Store) -> None:
    store.publish("old", ("uploads/a.md", "1"), ("uploads/b.md", "2"))
    store.tombstones.bury("uploads/a.md", store.snapshots)
    before = store.tombstones.entries()
    published = store.publish("new", ("uploads/b.md", "2"))
    store.tombstones.settle(before, published)
    assert store.tombstones.read() == {"uploads/a.md": "1"}, "a rollback would bring it back"
    (store.snapshots / "old" / "records.db").unlink()
    store.tombstones.settle(store.tombstones.entries(), published)
    assert store.tombstones.read() == {}


def test_a_job_shows_again_what_was_put_back(store: Store) -> None:
    store.publish("old", ("uploads/a.md", "1"))
    store.tombstones.bury("uploads/a.md", store.snapshots)
    before = store.tombstones.entries()
    store.tombstones.settle(before, store.publish("new", ("uploads/a.md", "1")))
    assert store.tombstones.read() == {}


def test_what_is_deleted_while_a_job_runs_is_hidden_in_its_snapshot_too(store: Store) -> None:
    before = store.tombstones.entries()
    store.tombstones.bury("uploads/new.md", store.snapshots)
    store.tombstones.settle(before, store.publish("new", ("uploads/new.md", "1")))
    assert store.tombstones.read() == {"uploads/new.md": "1"}


def test_deleted_put_back_and_deleted_again_during_a_job_stays_hidden(store: Store) -> None:
    store.publish("old", ("uploads/a.md", "1"))
    store.tombstones.bury("uploads/a.md", store.snapshots)
    before = store.tombstones.entries()
    store.tombstones.bury("uploads/a.md", store.snapshots)
    store.tombstones.settle(before, store.publish("new", ("uploads/a.md", "1")))
    assert store.tombstones.read() == {"uploads/a.md": "1"}


def test_a_job_of_a_domain_without_deletes_writes_nothing(store: Store) -> None:
    store.tombstones.settle(store.tombstones.entries(), store.publish("one", ("a.md", "1")))
    assert [file.name for file in store.file.parent.iterdir()] == ["snapshots"]


def test_no_delete_is_lost_when_many_are_made_at_once(store: Store) -> None:
    def delete(number: int) -> None:
        for step in range(5):
            Tombstones(store.file).add(f"uploads/{number}-{step}.md", "x")

    threads = [threading.Thread(target=delete, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(store.tombstones.read()) == 40


@pytest.mark.parametrize("content", ["", "[]", '{"a": {}}', '{"a": {"at": 1, "documents": []}}'])
def test_a_damaged_file_is_an_error_and_never_shows_what_was_deleted(
    store: Store, content: str
) -> None:
    store.file.write_text(content, encoding="utf-8")
    with pytest.raises(StoreError, match="damaged"):
        store.tombstones.read()


@pytest.mark.parametrize("left", [b"", b"x" * 5000, None])
def test_a_damaged_old_snapshot_keeps_nobody_from_deleting_or_publishing(
    store: Store, left: bytes | None
) -> None:
    old, live = (store.publish(name, ("uploads/a.md", "1")) for name in ("old", "live"))
    content = (old / "records.db").read_bytes()
    (old / "records.db").write_bytes(content[:5000] if left is None else left)
    store.tombstones.bury("uploads/a.md", store.snapshots)
    assert hidden_in(store.tombstones, Opened(live))() == {"uploads/a.md": "1"}
    store.tombstones.settle(store.tombstones.entries(), store.publish("new"))
    assert store.tombstones.read() == {"uploads/a.md": "1"}  # the live one holds it still
