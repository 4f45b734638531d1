"""Each kind of change costs what it must, and ends as a run from nothing would."""

import json
import os
import shutil
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from indexer.domain import load_domain
from indexer.errors import BadInput, Cancelled
from indexer.job.run import IndexJob, IndexResult
from indexer.reading.walk import SourceFile
from indexer.records import Document
from indexer.settings import Paths
from indexer.store.snapshot import open_snapshot
from indexer.store.tombstones import Tombstones
from tests.indexer.hash_embedder import HashEmbedder


def _run(folder: Path, paths: Paths, embedder: HashEmbedder | None = None) -> IndexResult:
    return IndexJob(load_domain(folder), paths, embedder=embedder or HashEmbedder()).run()


def _check_like_afresh(folder: Path, paths: Paths, result: IndexResult) -> None:
    afresh = Paths(folder.parent / "afresh")
    if paths.uploads("kitchen").exists():
        shutil.copytree(paths.uploads("kitchen"), afresh.uploads("kitchen"))
    assert result.snapshot == _run(folder, afresh).snapshot


def _upload(paths: Paths) -> Path:
    file = paths.uploads("kitchen") / "oven.md"
    file.parent.mkdir(parents=True)
    file.write_text("# Oven\n\nIt bakes.\n", encoding="utf-8")
    return file


def _document(paths: Paths, result: IndexResult, path: str) -> Document | None:
    snapshot = open_snapshot(paths.snapshot("kitchen", result.snapshot))
    found = snapshot.document(path)
    snapshot.close()
    return found


def _age(folder: Path, seconds: int = 60) -> None:
    """Files that were written just now are looked at twice; these were not."""
    then = time.time_ns() - seconds * 10**9
    for file in folder.rglob("*"):
        os.utime(file, ns=(then, then))


@pytest.mark.parametrize("new", ["care/kettle.md", "boiler.md"])
def test_a_renamed_file_is_told_and_not_read_again(
    folder: Path, paths: Paths, monkeypatch: pytest.MonkeyPatch, new: str
) -> None:
    _run(folder, paths)
    target = folder / "documents" / new
    target.parent.mkdir(exist_ok=True)
    (folder / "documents" / "kettle.md").rename(target)
    plan = IndexJob(load_domain(folder), paths).plan()
    assert plan.renamed == {"kettle.md": new}
    read: list[str] = []
    embedder = HashEmbedder()

    def note(_runner: object, _domain: object, files: Iterator[SourceFile]) -> Iterator[object]:
        read.extend(file.path for file in files)
        return iter(())

    monkeypatch.setattr("indexer.job.runner.LocalRunner.read", note)
    result = _run(folder, paths, embedder)
    assert (result.files.renamed, result.files.new, result.files.gone) == (1, 0, 0)
    assert read == []
    monkeypatch.undo()
    assert _document(paths, result, "kettle.md") is None
    _check_like_afresh(folder, paths, result)


def test_a_renamed_file_whose_title_is_its_name_gets_the_new_title(
    folder: Path, paths: Paths
) -> None:
    file = folder / "documents" / "oven_care.txt"
    file.write_text("the oven is cleaned each week, with a cloth and water.\n", encoding="utf-8")
    _run(folder, paths)
    file.rename(file.with_name("stove_care.txt"))
    result = _run(folder, paths)
    assert result.files.renamed == 1
    document = _document(paths, result, "stove_care.txt")
    assert document is not None
    assert document.title == "Stove care"
    _check_like_afresh(folder, paths, result)


def test_files_that_trade_their_names_are_changed_files(folder: Path, paths: Paths) -> None:
    documents = folder / "documents"
    (documents / "a.md").write_text("# A\n\nFirst text.\n", encoding="utf-8")
    (documents / "b.md").write_text("# B\n\nOther text.\n", encoding="utf-8")
    _run(folder, paths)
    (documents / "a.md").rename(documents / "c")
    (documents / "b.md").rename(documents / "a.md")
    (documents / "c").rename(documents / "b.md")
    result = _run(folder, paths)
    assert (result.files.changed, result.files.renamed) == (2, 0)
    _check_like_afresh(folder, paths, result)


def test_a_touched_file_is_not_read_again(folder: Path, paths: Paths) -> None:
    first = _run(folder, paths)
    _age(folder / "documents")
    second = _run(folder, paths)
    assert (second.snapshot, second.files.unchanged, second.files.changed) == (first.snapshot, 3, 0)
    assert "read" not in second.phases


def test_a_change_within_a_tick_of_the_clock_is_noticed(folder: Path, paths: Paths) -> None:
    file = folder / "documents" / "kettle.md"
    before = file.stat()
    first = _run(folder, paths)
    file.write_text(file.read_text(encoding="utf-8").replace("1.7", "9.9"), encoding="utf-8")
    os.utime(file, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert file.stat().st_size == before.st_size
    second = _run(folder, paths)
    assert second.files.changed == 1
    assert second.snapshot != first.snapshot


def test_an_old_file_is_known_by_size_and_time_alone(
    folder: Path, paths: Paths, monkeypatch: pytest.MonkeyPatch
) -> None:
    _age(folder / "documents")
    _run(folder, paths)
    looked: list[Path] = []

    def note(file: Path) -> str:
        looked.append(file)
        return ""

    monkeypatch.setattr("indexer.job.comparison._digest", note)
    assert _run(folder, paths).files.unchanged == 3
    assert looked == []
    (folder / "documents" / "kettle.md").touch()
    _run(folder, paths)
    assert looked == [(folder / "documents" / "kettle.md").resolve()]


def test_a_quarantined_file_is_tried_again_when_it_changes(folder: Path, paths: Paths) -> None:
    file = folder / "documents" / "bad.txt"
    file.write_bytes(b"\0\0\0\0")
    first = _run(folder, paths)
    second = _run(folder, paths)
    assert [r.path for r in first.rejected] == [r.path for r in second.rejected] == ["bad.txt"]
    assert "read" not in second.phases
    file.write_text("Bad no more. It is text now.\n", encoding="utf-8")
    third = _run(folder, paths)
    assert (third.rejected, third.documents) == ([], 4)


def test_another_reader_tries_everything_again_and_embeds_nothing(
    folder: Path, paths: Paths, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = _run(folder, paths)
    monkeypatch.setattr("indexer.job.recipes.reader_identity", lambda _: "newer")
    second = _run(folder, paths)
    assert (second.files.changed, second.embedded) == (3, 0)
    assert second.snapshot == first.snapshot


def test_a_vanished_folder_is_bad_input_and_forgets_nothing(folder: Path, paths: Paths) -> None:
    first = _run(folder, paths)
    (folder / "documents").rename(folder / "away")
    with pytest.raises(BadInput, match="does not exist"):
        _run(folder, paths)
    (folder / "documents").mkdir()
    with pytest.raises(BadInput, match="There are no documents"):
        _run(folder, paths)
    (folder / "documents").rmdir()
    (folder / "away").rename(folder / "documents")
    again = _run(folder, paths)
    assert (again.snapshot, again.files.unchanged) == (first.snapshot, 3)


def test_an_unmounted_disk_empties_nothing_though_there_are_uploads(
    folder: Path, paths: Paths
) -> None:
    _upload(paths)
    first = _run(folder, paths)
    (folder / "documents").rename(folder / "away")
    (folder / "documents").mkdir()
    with pytest.raises(BadInput, match="--emptied") as caught:
        _run(folder, paths)
    assert "cannot be read" not in str(caught.value)
    with pytest.raises(BadInput, match="--emptied"):
        IndexJob(load_domain(folder), paths).plan()
    (folder / "documents").rmdir()
    (folder / "away").rename(folder / "documents")
    assert _run(folder, paths).snapshot == first.snapshot


def test_folders_that_are_meant_to_be_empty_leave_the_uploads(folder: Path, paths: Paths) -> None:
    _upload(paths)
    _run(folder, paths)
    shutil.rmtree(folder / "documents")
    (folder / "documents").mkdir()
    domain = load_domain(folder)
    result = IndexJob(domain, paths, embedder=HashEmbedder(), emptied=True).run()
    assert (result.documents, result.files.gone) == (1, 3)
    assert _run(folder, paths).snapshot == result.snapshot  # nothing is missed from then on


def test_of_two_files_with_one_path_the_other_is_told_every_time(
    folder: Path, paths: Paths
) -> None:
    for place in ("a", "b"):
        (folder / place).mkdir()
    (folder / "a" / "link.md").symlink_to("/etc/hostname")
    (folder / "b" / "link.md").write_text("# Link\n\nUsable.\n", encoding="utf-8")
    for place in ("a", "b"):
        (folder / place / "same.md").write_text(f"# Same\n\nOf {place}.\n", encoding="utf-8")
    (folder / "domain.toml").write_text('[documents]\npaths = ["a", "b"]\n', encoding="utf-8")
    for _ in range(2):
        result = _run(folder, paths)
        told = {(one.path, one.reason[:16]) for one in result.rejected}
        assert told == {("same.md", "another document"), ("link.md", "is a link out of")}
        assert result.documents == 2
        plan = IndexJob(load_domain(folder), paths).plan()
        assert {one.path for one in plan.quarantined} == {"same.md", "link.md"}
    found = _document(paths, result, "link.md")
    assert found is not None
    assert "Usable" in found.text


def test_a_moved_folder_is_looked_through_once_for_all_and_can_be_cancelled(
    folder: Path, paths: Paths
) -> None:
    many = folder / "documents" / "v1"
    many.mkdir()
    for number in range(400):
        (many / f"{number}.md").write_text(f"# N\n\nPart {number % 7}.\n", encoding="utf-8")
    first = _run(folder, paths)
    many.rename(folder / "documents" / "v2")
    asked = 0

    def stopped() -> bool:
        nonlocal asked
        asked += 1
        return asked > 450  # the files are looked at, then each is looked for

    with pytest.raises(Cancelled):
        IndexJob(load_domain(folder), paths, embedder=HashEmbedder(), stopped=stopped).run()
    result = _run(folder, paths)
    assert (result.files.renamed, result.files.gone, result.embedded) == (400, 0, 0)
    assert result.documents == first.documents
    _check_like_afresh(folder, paths, result)


def test_a_folder_that_vanishes_while_it_is_read_deletes_nothing(
    folder: Path, paths: Paths
) -> None:
    _run(folder, paths)
    for number in range(3):
        (folder / "documents" / f"new{number}.md").write_text("# N\n\nNew.\n", encoding="utf-8")

    def unmount(progress: object) -> None:
        if getattr(progress, "phase", "") == "read" and (folder / "documents").exists():
            (folder / "documents").rename(folder / "away")

    with pytest.raises(BadInput, match="vanished while it was read"):
        IndexJob(load_domain(folder), paths, unmount, HashEmbedder()).run()
    (folder / "away").rename(folder / "documents")
    result = _run(folder, paths)
    assert result.documents == 6
    _check_like_afresh(folder, paths, result)


def test_uploaded_files_are_documents_too(folder: Path, paths: Paths) -> None:
    _upload(paths)
    result = _run(folder, paths)
    assert _document(paths, result, "uploads/oven.md") is not None
    _check_like_afresh(folder, paths, result)


def test_notes_of_deleted_documents_are_settled_when_they_are_gone(
    folder: Path, paths: Paths
) -> None:
    upload = _upload(paths)
    first = _run(folder, paths)
    tombstones = Tombstones(paths.tombstones("kitchen"))
    tombstones.bury("uploads/oven.md", paths.snapshots("kitchen"))
    upload.unlink()
    shutil.rmtree(paths.snapshot("kitchen", first.snapshot))
    second = _run(folder, paths)
    assert second.files.gone == 1
    assert dict(tombstones.entries()) == {}


def test_equal_chunks_are_kept_once_with_all_their_places(folder: Path, paths: Paths) -> None:
    text = "# Warranty\n\nThe warranty covers all parts of this device for two whole years.\n"
    for name in ("x", "y"):
        (folder / "documents" / f"{name}.md").write_text(text, encoding="utf-8")
    result = _run(folder, paths)
    assert result.duplicates == 1
    snapshot = open_snapshot(paths.snapshot("kitchen", result.snapshot))
    [(row, document)] = snapshot.read("SELECT row, document FROM copies")
    assert document == "y.md"
    assert snapshot.read("SELECT document FROM chunks WHERE row = ?", row) == [("x.md",)]
    assert snapshot.passages.count == result.chunks == snapshot.manifest.chunks
    snapshot.close()
    (folder / "domain.toml").write_text("[duplicates]\ndrop = false\n", encoding="utf-8")
    every = _run(folder, paths)
    assert (every.duplicates, every.chunks, every.embedded) == (0, result.chunks + 1, 0)


def test_demonstrations_may_have_an_embedder_of_their_own(folder: Path, paths: Paths) -> None:
    toml = '[demonstrations]\npaths = ["demonstrations.jsonl"]\nembedder.name = "other"\n'
    (folder / "domain.toml").write_text(toml, encoding="utf-8")
    other = HashEmbedder("other/1")
    other.dimension = 16
    job = IndexJob(load_domain(folder), paths, embedder=HashEmbedder(), question_embedder=other)
    result = job.run()
    snapshot = open_snapshot(paths.snapshot("kitchen", result.snapshot))
    manifest = snapshot.manifest
    assert manifest.for_demonstrations().fingerprint == "other/1"
    assert manifest.embedder.fingerprint == "hash/1"
    assert (snapshot.passages.dimension, snapshot.demonstrations.dimension) == (32, 16)
    snapshot.close()
    assert job.run().embedded == 0


def test_the_manifest_says_how_vectors_were_made(folder: Path, paths: Paths) -> None:
    result = _run(folder, paths)
    file = paths.snapshot("kitchen", result.snapshot) / "manifest.json"
    manifest = json.loads(file.read_text(encoding="utf-8"))
    mark = manifest["embedder"]
    assert (mark["pooling"], mark["max_tokens"], mark["dtype"]) == ("words", 128, "fp32")
    assert len(mark["probes"][0]["vector"]) == 32
    assert "tokenizers" in mark["libraries"]
    assert manifest["passages_index"]["kind"] == "flat"


def test_a_plan_estimates_by_what_runs_took(folder: Path, paths: Paths) -> None:
    first = IndexJob(load_domain(folder), paths).plan()
    assert (first.measured, first.seconds > 0) == (False, True)
    for number in range(40):
        file = folder / "documents" / f"n{number}.md"
        file.write_text(f"# N\n\nNumber {number} is here.\n", encoding="utf-8")
    _run(folder, paths)
    idle = IndexJob(load_domain(folder), paths).plan()
    assert (idle.measured, idle.seconds) == (True, 0.0)
    (folder / "documents" / "n1.md").write_text("# N\n\nOther.\n", encoding="utf-8")
    assert IndexJob(load_domain(folder), paths).plan().seconds > 0
