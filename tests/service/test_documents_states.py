"""The state of a file: what lies there, what the last job read, and what is answered from."""

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from indexer.records import Document, Rejected
from indexer.settings import Paths
from indexer.store.catalog import Catalog
from indexer.store.journal import QUARANTINED, READ, REFUSED, FileEntry, Journal, Taken
from indexer.store.tables import Row
from indexer.store.tombstones import Tombstone, Tombstones
from service.documents import Documents
from service.errors import Conflict, UnknownName
from service.uploads import Uploads

A = "uploads/a.md"


class Case:
    """A domain whose parts are put there one by one; `live` is a snapshot with names only."""

    def __init__(self, root: Path) -> None:
        self.paths = Paths(root)
        self.documents = Documents(self.paths, ["garden"])
        self.folder = self.paths.snapshot("garden", "one")

    def put(self, text: str = "text", name: str = "a.md") -> None:
        file = self.paths.uploads("garden") / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text, encoding="utf-8")

    def read(self, path: str, *documents: str, state: str = READ, reason: str = "") -> None:
        """As a job journals it; each document is `path=id`."""
        found = self.paths.uploads("garden") / path.removeprefix("uploads/")
        size, mtime = (found.stat().st_size, found.stat().st_mtime_ns) if found.exists() else (9, 9)
        if state == REFUSED:
            size = mtime = 0
        rejected = (Rejected(path, reason),) if reason else ()
        entry = FileEntry(path, size, mtime, 1, "sha", "reader", state, rejected)
        taken = []
        for one in documents:
            name, _, key = one.partition("=")
            taken.append(Taken(Document(key, name, "title", "text", "sha", ()), {}))
        with Catalog(self.paths.catalog("garden")) as catalog:
            Journal(catalog).put(entry, taken)

    def publish(self, *documents: str) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        (self.folder / "records.db").unlink(missing_ok=True)
        with closing(sqlite3.connect(self.folder / "records.db")) as database, database:
            database.execute("CREATE TABLE documents(path TEXT PRIMARY KEY, id TEXT)")
            rows = [one.split("=") for one in documents]
            database.executemany("INSERT INTO documents VALUES (?, ?)", rows)

    def states(self) -> dict[str, str]:
        found = self.documents.page("garden", Snapshot(self.folder), "", 100)
        return {one.path: one.state for one in found}

    def delete(self, path: str) -> None:
        self.documents.delete("garden", path, Snapshot(self.folder))


class Snapshot:
    """What is live: nothing before the first is published."""

    def __init__(self, folder: Path) -> None:
        self._file = folder / "records.db"

    def read(self, query: str, *values: str | int) -> list[Row]:
        if not self._file.exists():
            return []
        with closing(sqlite3.connect(self._file)) as database:
            return database.execute(query, values).fetchall()


@pytest.fixture
def case(tmp_path: Path) -> Case:
    return Case(tmp_path)


def test_an_upload_is_pending_then_indexed_then_changed(case: Case) -> None:
    case.put()
    assert case.states() == {A: "pending"}
    case.read(A, f"{A}=1")
    assert case.states() == {A: "pending"}, "it is read, and not published yet"
    case.publish(f"{A}=1")
    assert case.states() == {A: "indexed"}
    case.put("other text")
    assert case.states() == {A: "changed"}
    case.read(A, f"{A}=2")
    assert case.states() == {A: "changed"}


def test_a_file_of_many_documents_is_one_and_indexed_when_all_are(case: Case) -> None:
    path = "uploads/rows.jsonl"
    case.put(name="rows.jsonl")
    case.read(path, f"{path}/1=1", f"{path}/2=2")
    case.publish(f"{path}/1=1")
    assert case.states() == {path: "changed"}
    case.publish(f"{path}/1=1", f"{path}/2=2", "uploads/rows.jsonl.md=3")
    assert case.states() == {path: "indexed"}


@pytest.mark.parametrize("state", [QUARANTINED, REFUSED])
def test_what_cannot_be_used_is_quarantined_with_its_reason_until_it_changes(
    case: Case, state: str
) -> None:
    case.put()
    case.read(A, state=state, reason="is damaged")
    [one] = case.documents.page("garden", None, "", 100)
    assert (one.state, one.reasons) == ("quarantined", (f"{A}: is damaged",))
    case.put("mended text")
    assert case.states() == {A: "pending" if state == QUARANTINED else "quarantined"}


def test_a_file_of_the_domains_folder_is_listed_but_not_deleted(case: Case) -> None:
    case.read("own.md", "own.md=1")
    case.publish("own.md=1")
    assert case.states() == {"own.md": "indexed"}
    with pytest.raises(Conflict, match="belongs to the folder"):
        case.delete("own.md")
    with pytest.raises(UnknownName):
        case.delete("other.md")


def test_a_deleted_file_is_listed_while_a_snapshot_holds_it(case: Case) -> None:
    case.put()
    case.read(A, f"{A}=1")
    case.publish(f"{A}=1")
    case.delete(A)
    assert case.states() == {A: "deleted"}
    assert case.documents.is_hidden("garden", A, "1")
    with pytest.raises(UnknownName):
        case.delete(A)
    case.publish()
    assert case.states() == {}


def test_what_is_put_back_is_pending_and_its_old_content_stays_hidden(case: Case) -> None:
    case.put()
    case.read(A, f"{A}=1")
    case.publish(f"{A}=1")
    case.delete(A)
    case.put("other text")
    assert case.states() == {A: "pending"}
    assert case.documents.is_hidden("garden", A, "1")
    case.read(A, f"{A}=2")
    case.publish(f"{A}=2")
    assert case.states() == {A: "indexed"}
    assert not case.documents.is_hidden("garden", A, "2")


def test_pages_go_on_where_the_one_before_ended(case: Case) -> None:
    for name in ("b.md", "a/c.md", "a.md"):
        case.put(name=name)
    case.read("own.md", "own.md=1")
    every = [one.path for one in case.documents.page("garden", None, "", 100)]
    assert every == ["own.md", "uploads/a.md", "uploads/a/c.md", "uploads/b.md"]
    pages, after = [], ""
    while found := case.documents.page("garden", None, after, 1):
        after = found[-1].path
        pages.append(after)
    assert pages == every
    pending = case.documents.page("garden", None, "uploads/a.md", 1, "pending")
    assert [one.path for one in pending] == ["uploads/a/c.md"]


def test_a_job_that_begins_while_a_file_is_removed_does_not_show_it_again(
    case: Case, monkeypatch: pytest.MonkeyPatch
) -> None:
    case.put()
    case.read(A, f"{A}=1")
    case.publish(f"{A}=1")
    tombstones = Tombstones(case.paths.tombstones("garden"))
    before: dict[str, Tombstone] = {}
    remove = Uploads.remove

    def slowly(uploads: Uploads, name: str) -> None:
        before.update(tombstones.entries())  # the job's first look, which finds the file
        remove(uploads, name)

    monkeypatch.setattr(Uploads, "remove", slowly)
    case.delete(A)
    tombstones.settle(before, case.folder)
    assert case.documents.is_hidden("garden", A, "1")
