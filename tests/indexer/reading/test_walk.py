"""Files are found by path and without being opened; nothing outside the folders is."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from indexer.domain import load_domain
from indexer.errors import BadInput
from indexer.reading.walk import SourceFile, scan
from indexer.records import Rejected


def _scan(folder: Path, uploads: Path | None = None) -> dict[str, SourceFile | Rejected]:
    return {found.path: found for found in scan(load_domain(folder), uploads)}


def _reason(folder: Path, path: str) -> str:
    found = _scan(folder)[path]
    assert isinstance(found, Rejected)
    return found.reason


def test_files_come_in_order_of_their_paths_parts(folder: Path) -> None:
    for name in ("a.md", "a/z.md", "a/b/c.md", "a-b.md", "a.txt"):
        file = folder / "documents" / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text("x.", encoding="utf-8")
    paths = [found.path for found in scan(load_domain(folder))]
    assert paths == sorted(paths, key=lambda path: path.split("/"))
    assert paths[:5] == ["a/b/c.md", "a/z.md", "a-b.md", "a.md", "a.txt"]


def test_size_and_time_are_those_of_the_file(folder: Path) -> None:
    found = _scan(folder)["kettle.md"]
    state = (folder / "documents" / "kettle.md").stat()
    assert isinstance(found, SourceFile)
    assert (found.size, found.mtime_ns) == (state.st_size, state.st_mtime_ns)


def test_uploads_come_last_under_their_prefix(folder: Path, tmp_path: Path) -> None:
    uploads = tmp_path / "uploads"
    assert list(_scan(folder, uploads)) == list(_scan(folder))
    uploads.mkdir()
    (uploads / "kettle.md").write_text("x.", encoding="utf-8")
    (uploads / ".half.md").write_text("x.", encoding="utf-8")
    assert list(_scan(folder, uploads))[-1] == "uploads/kettle.md"
    assert len(_scan(folder, uploads)) == 4


def test_of_two_files_with_one_path_the_second_is_rejected(folder: Path, tmp_path: Path) -> None:
    (folder / "documents" / "uploads").mkdir()
    (folder / "documents" / "uploads" / "a.md").write_text("x.", encoding="utf-8")
    (tmp_path / "a.md").write_text("y.", encoding="utf-8")
    found = [f for f in scan(load_domain(folder), tmp_path) if f.path == "uploads/a.md"]
    assert isinstance(found[0], SourceFile)
    assert found[1:] == [Rejected("uploads/a.md", "another document has this path")]


def test_links_that_lead_in_circles_are_named(folder: Path) -> None:
    documents = folder / "documents"
    (documents / "a.md").symlink_to(documents / "b.md")
    (documents / "b.md").symlink_to(documents / "a.md")
    (documents / "loop").symlink_to(documents)
    assert _reason(folder, "a.md") == "is not a file"
    assert "link" in _reason(folder, "loop")


def test_a_link_out_of_the_folder_is_refused_though_the_names_begin_alike(folder: Path) -> None:
    (folder / "documents-of-others").mkdir()
    (folder / "documents-of-others" / "a.md").write_text("x.", encoding="utf-8")
    (folder / "documents" / "a.md").symlink_to(folder / "documents-of-others" / "a.md")
    assert "out of the document folder" in _reason(folder, "a.md")


def test_a_pipe_is_no_file(folder: Path) -> None:
    os.mkfifo(folder / "documents" / "pipe.md")
    assert _reason(folder, "pipe.md") == "is not a file"


def test_a_folder_that_is_gone_is_bad_input_and_not_empty(folder: Path) -> None:
    (folder / "documents").rename(folder / "elsewhere")
    with pytest.raises(BadInput, match=r"documents does not exist"):
        _scan(folder)


@pytest.mark.parametrize(
    "name",
    [
        "caf\u00e9 \u6f22.md",
        "shot 9.41\u202fAM.md",
        "a\u00a0b.md",
        "a\u3000b.md",
        "\u0645\u06cc\u200c\u062e\u0648.md",
    ],
)
def test_a_name_may_hold_any_blank_and_what_joins_letters(folder: Path, name: str) -> None:
    (folder / "documents" / name).write_text("x.", encoding="utf-8")
    assert isinstance(_scan(folder)[name], SourceFile)


@pytest.mark.parametrize(
    "sign", ["\n", "\x7f", "\x85", "\u2028", "\u202e", "\u2067", "\u200f", "\udc80"]
)
def test_a_name_that_can_look_like_another_is_refused(folder: Path, sign: str) -> None:
    (folder / "documents" / f"a{sign}b.md").write_text("x.", encoding="utf-8")
    (found,) = [one for one in scan(load_domain(folder)) if one.path.startswith("a")]
    assert isinstance(found, Rejected)
    assert found.reason == "has a name that is not text"


@contextmanager
def _nested(documents: Path, levels: int, name: str = "d") -> Iterator[None]:
    """A file that so many folders lie around, put around it and taken off one by one.

    No path to it need be one that the kernel takes.
    """
    inner, outer = documents / name, documents / "other"
    inner.mkdir()
    (inner / "a.md").write_text("x.", encoding="utf-8")
    for _ in range(levels - 1):
        outer.mkdir()
        inner.rename(outer / name)
        outer.rename(inner)
    try:
        yield
    finally:
        for _ in range(levels - 1):
            inner.rename(outer)
            (outer / name).rename(inner)
            outer.rmdir()


def test_folders_may_nest_deeper_than_pythons_stack(folder: Path) -> None:
    with _nested(folder / "documents", 1_200):
        paths = [found.path for found in scan(load_domain(folder))]
    assert paths[0] == "d/" * 1_200 + "a.md"
    assert paths[1:] == ["kettle.md", "notes/fridge.txt", "toaster.html"]


def test_a_folder_beyond_the_longest_path_is_named_and_stops_nothing(folder: Path) -> None:
    with _nested(folder / "documents", 40, "d" * 200):
        first, *others = scan(load_domain(folder))
    assert isinstance(first, Rejected)
    assert first.reason == "cannot be listed: File name too long"
    assert [found.path for found in others] == ["kettle.md", "notes/fridge.txt", "toaster.html"]


def test_a_file_where_a_folder_was_is_named(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    listed = os.scandir

    def scandir(path: str) -> object:
        if path.endswith("/notes"):
            path = f"{path}/fridge.txt"
        return listed(path)

    monkeypatch.setattr(os, "scandir", scandir)
    assert _reason(folder, "notes") == "cannot be listed: Not a directory"
