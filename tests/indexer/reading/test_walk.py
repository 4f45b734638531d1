"""Files are found by path and without being opened; nothing outside the folders is."""

import os
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
