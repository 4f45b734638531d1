"""The folder of uploads: names, what is put among the documents and when, and what never is."""

import errno
import os
import tempfile
import threading
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from service.errors import (
    AlreadyThere,
    Conflict,
    InvalidRequest,
    OutOfSpace,
    TooLarge,
    UnknownName,
)
from service.incoming import Incoming, UploadLimits
from service.settings import ServiceSettings
from service.uploads import INCOMING, MAX_DEPTH, STALE_SECONDS, Uploads, clean_name

LIMITS = UploadLimits(file=100, request=1000, files=3)
BAD_NAMES = [
    "", ".", "..", "/etc/passwd", "a/../b", "a//b", "a/", "/a", ".hidden", "a/.git/b", "a\\b",
    "C:\\a", "a\x00b", "a\nb", " a", "a ", "a /b", "\u202ea", "\ud800", "a" * 256, "a/" * 16 + "b",
    "é" * 128, "\u00a0",
]  # fmt: skip


@pytest.fixture
def uploads(tmp_path: Path) -> Uploads:
    return Uploads(tmp_path / "store" / "uploads")


def put(uploads: Uploads, *names: str, content: bytes = b"text", replace: bool = True) -> list[str]:
    incoming = Incoming(uploads, LIMITS)
    try:
        for name in names:
            incoming.begin(name)
            incoming.write(content)
            incoming.end()
        return [upload.path for upload in incoming.publish(replace)]
    finally:
        incoming.abandon()


def paths(uploads: Uploads, after: str = "") -> list[str]:
    return [upload.path for upload in uploads.walk(after)]


def leftovers(uploads: Uploads) -> list[Path]:
    return list((uploads.root / INCOMING).iterdir())


@pytest.mark.parametrize("name", BAD_NAMES)
def test_a_name_that_is_no_plain_path_is_refused(name: str) -> None:
    with pytest.raises(InvalidRequest, match="cannot be a document's name"):
        clean_name(name)


def test_a_name_keeps_its_case_and_blanks_and_is_composed() -> None:
    assert clean_name("Notes/My Cafe\u0301.MD") == "Notes/My Caf\u00e9.MD"
    assert clean_name("Shot at 9.41\u202fAM.md") == "Shot at 9.41\u202fAM.md"  # as macOS names it


@settings(deadline=None, max_examples=50)
@given(st.text(max_size=40) | st.lists(st.sampled_from(["..", ".", "a", "", "b c"])).map("/".join))
def test_whatever_name_is_taken_stays_in_the_folder_and_can_be_put_back(name: str) -> None:
    try:
        clean = clean_name(name)
    except InvalidRequest:
        return
    with tempfile.TemporaryDirectory() as folder:
        uploads = Uploads(Path(folder) / "uploads")
        put(uploads, name)
        assert paths(uploads) == [f"uploads/{clean}"]
        assert (uploads.root / clean).resolve().is_relative_to(uploads.root.resolve())
        assert sorted(os.listdir(folder)) == ["uploads"]
        uploads.remove(clean)
        assert os.listdir(uploads.root) == [INCOMING]


def test_a_file_is_there_only_when_its_request_is_whole(uploads: Uploads) -> None:
    incoming = Incoming(uploads, LIMITS)
    incoming.begin("notes/a.md")
    incoming.write(b"half")
    assert paths(uploads) == []
    incoming.write(b" and half")
    incoming.end()
    [upload] = incoming.publish()
    assert (upload.path, upload.size) == ("uploads/notes/a.md", 13)
    assert (uploads.root / "notes" / "a.md").read_bytes() == b"half and half"
    assert leftovers(uploads) == []


def test_what_is_abandoned_leaves_nothing(uploads: Uploads) -> None:
    incoming = Incoming(uploads, LIMITS)
    incoming.begin("a.md")
    incoming.write(b"half")
    incoming.abandon()
    assert (paths(uploads), leftovers(uploads)) == ([], [])
    with pytest.raises(InvalidRequest, match="has ended"):
        incoming.write(b"more")


def test_a_file_of_the_same_name_is_replaced_unless_that_is_forbidden(uploads: Uploads) -> None:
    put(uploads, "a.md", content=b"old")
    put(uploads, "a.md", content=b"new")
    with pytest.raises(AlreadyThere):
        put(uploads, "a.md", content=b"newer", replace=False)
    assert (uploads.root / "a.md").read_bytes() == b"new"
    assert put(uploads, "b.md", replace=False) == ["uploads/b.md"]


@pytest.mark.parametrize("names", [("a", "a/b"), ("a/b", "a")])
def test_no_name_is_a_file_and_a_folder(uploads: Uploads, names: tuple[str, str]) -> None:
    with pytest.raises(Conflict):
        put(uploads, *names)
    assert paths(uploads) == []
    put(uploads, names[0])
    with pytest.raises(Conflict):
        put(uploads, "fine.md", names[1])
    assert paths(uploads) == [f"uploads/{names[0]}"], "all of a request is taken, or none of it"


def test_too_large_too_many_and_twice_are_refused(uploads: Uploads) -> None:
    put(uploads, "a", content=b"x" * 100)
    with pytest.raises(TooLarge, match="larger than"):
        put(uploads, "b", content=b"x" * 101)
    with pytest.raises(TooLarge, match="More than 3 files"):
        put(uploads, "b", "c", "d", "e")
    with pytest.raises(InvalidRequest, match="twice"):
        put(uploads, "cafe\u0301", "caf\u00e9")
    assert (paths(uploads), leftovers(uploads)) == (["uploads/a"], [])


def test_links_are_neither_followed_nor_listed_nor_replaced(
    uploads: Uploads, tmp_path: Path
) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "secret.md").write_text("secret", encoding="utf-8")
    put(uploads, "a.md")
    (uploads.root / "folder").symlink_to(outside)
    (uploads.root / "file.md").symlink_to(outside / "secret.md")
    assert paths(uploads) == ["uploads/a.md"]
    for name in ("folder/new.md", "file.md"):
        with pytest.raises(Conflict):
            put(uploads, name)
        assert uploads.find(name) is None
    with pytest.raises(Conflict):
        uploads.remove("folder/secret.md")
    assert [file.name for file in outside.iterdir()] == ["secret.md"]


def test_removing_a_file_removes_the_folders_that_it_leaves_empty(uploads: Uploads) -> None:
    put(uploads, "a/b/one.md", "a/two.md")
    uploads.remove("a/b/one.md")
    assert not (uploads.root / "a" / "b").exists()
    uploads.remove("a/two.md")
    with pytest.raises(UnknownName, match=r"uploads/a/two\.md"):
        uploads.remove("a/two.md")
    assert put(uploads, "a") == ["uploads/a"]


@settings(deadline=None, max_examples=50)
@given(st.sets(st.sampled_from(["a", "a.md", "b", "b-c", "é"]).flatmap(
    lambda first: st.sampled_from(["", "/x", "/x.md", "/y/z", "/y-z"]).map(lambda r: first + r)
)))  # fmt: skip
def test_the_files_are_walked_in_order_of_path_from_anywhere(names: set[str]) -> None:
    names = {n for n in names if not any(other.startswith(f"{n}/") for other in names)}
    with tempfile.TemporaryDirectory() as folder:
        uploads = Uploads(Path(folder))
        for name in names:
            file = Path(folder, name)
            file.parent.mkdir(parents=True, exist_ok=True)
            file.touch()
        expected = sorted(f"uploads/{name}" for name in names)
        assert paths(uploads) == expected
        for number, after in enumerate(expected):
            assert paths(uploads, after) == expected[number + 1 :]


def test_a_full_disk_is_said_and_leaves_nothing(
    uploads: Uploads, monkeypatch: pytest.MonkeyPatch
) -> None:
    incoming = Incoming(uploads, LIMITS)
    incoming.begin("a.md")
    incoming.write(b"text")

    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OutOfSpace, match="disk is full"):
        incoming.end()
    incoming.abandon()
    assert (paths(uploads), leftovers(uploads)) == ([], [])


def test_a_request_that_cannot_fit_is_refused_before_it_is_read(uploads: Uploads) -> None:
    with pytest.raises(OutOfSpace, match="no room"):
        Incoming(uploads, LIMITS, needed=2**60)


def test_only_what_is_long_stale_of_other_requests_is_cleared_away(uploads: Uploads) -> None:
    old, new = Incoming(uploads, LIMITS), Incoming(uploads, LIMITS)
    os.utime(old._folder, (0, 0))
    uploads.clear_stale()
    assert leftovers(uploads) == [new._folder]
    assert STALE_SECONDS > ServiceSettings().upload_seconds
    new.abandon()


def test_requests_that_end_at_once_do_not_disturb_each_other(uploads: Uploads) -> None:
    threads = [
        threading.Thread(target=put, args=(uploads, f"{n % 4}/a.md", f"own/{n}.md"))
        for n in range(16)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(paths(uploads)) == 20
    assert leftovers(uploads) == []


def test_the_deepest_name_that_is_taken_is_as_deep_as_is_said(uploads: Uploads) -> None:
    name = "/".join("d" * MAX_DEPTH)
    assert put(uploads, name) == [f"uploads/{name}"]
