"""A job does what is needed, once; however it ends, what was published stays as it was."""

import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from indexer.domain import Domain, load_domain
from indexer.errors import BadInput, StoreError
from indexer.job.run import IndexJob, IndexResult, Progress
from indexer.settings import Paths, write_atomically
from indexer.store.snapshot import open_snapshot
from tests.indexer.conftest import ROOT
from tests.indexer.hash_embedder import HashEmbedder
from tests.indexer.job.children import finish, start

PHASES = "scan read split embed write vectors words verify publish tidy".split()


def _run(folder: Path, paths: Paths, embedder: HashEmbedder | None = None) -> IndexResult:
    return IndexJob(load_domain(folder), paths, embedder=embedder or HashEmbedder()).run()


def _published(paths: Paths, name: str = "kitchen") -> dict[str, bytes]:
    """LIVE and every file of every published snapshot."""
    files = [paths.live(name)]
    for snapshot in paths.snapshots(name).iterdir():
        if not snapshot.name.startswith("."):
            files.extend(file for file in snapshot.rglob("*") if file.is_file())
    return {str(file.relative_to(paths.root)): file.read_bytes() for file in files}


def _edit(folder: Path) -> None:
    file = folder / "documents" / "kettle.md"
    text = file.read_text(encoding="utf-8")
    file.write_text(text.replace("1.7 litres", "two litres"), encoding="utf-8")
    (folder / "documents" / "toaster.html").unlink()
    (folder / "documents" / "oven.md").write_text("# Oven\n\nIt bakes.\n", encoding="utf-8")


def test_a_first_run_reports_each_phase_and_indexes_everything(
    domain: Domain, paths: Paths, embedder: HashEmbedder
) -> None:
    reports: list[Progress] = []
    result = IndexJob(domain, paths, reports.append, embedder).run()
    assert (result.documents, result.chunks, result.demonstrations) == (3, 4, 2)
    assert (result.embedded, result.reused, result.rejected) == (6, 0, [])
    assert list(dict.fromkeys(report.phase for report in reports)) == PHASES
    for phase in ("read", "split", "embed", "write", "vectors", "words"):
        assert any(r.phase == phase and r.done == r.total > 0 for r in reports), phase
    snapshot = open_snapshot(paths.snapshot("kitchen", result.snapshot))
    assert snapshot.manifest.embedder.fingerprint == embedder.fingerprint
    snapshot.close()


def test_a_second_run_embeds_nothing_and_gives_the_same_snapshot(
    folder: Path, paths: Paths, embedder: HashEmbedder
) -> None:
    first, second = _run(folder, paths, embedder), _run(folder, paths, embedder)
    assert second.snapshot == first.snapshot
    assert (second.documents, second.chunks, second.demonstrations) == (3, 4, 2)
    assert (second.embedded, second.reused) == (0, 6)


def test_only_what_changed_is_embedded(folder: Path, paths: Paths, embedder: HashEmbedder) -> None:
    _run(folder, paths)
    _edit(folder)
    result = _run(folder, paths, embedder)
    assert (result.documents, result.embedded, result.reused) == (3, 2, 4)
    assert embedder.embedded == 2


def test_the_way_to_an_index_leaves_no_trace_in_it(
    folder: Path, paths: Paths, tmp_path: Path
) -> None:
    _run(folder, paths)
    _edit(folder)
    changed = _run(folder, paths)
    afresh = _run(folder, Paths(tmp_path / "afresh"))
    assert changed.snapshot == afresh.snapshot


def test_a_changed_demonstration_makes_another_snapshot(folder: Path, paths: Paths) -> None:
    first = _run(folder, paths)
    file = folder / "demonstrations.jsonl"
    text = file.read_text(encoding="utf-8")
    file.write_text(text.replace("No, it is not.", "A little."), encoding="utf-8")
    second = _run(folder, paths)
    assert second.snapshot != first.snapshot
    assert second.embedded == 0


def test_another_embedder_or_chunking_indexes_again(folder: Path, paths: Paths) -> None:
    first = _run(folder, paths)
    (folder / "domain.toml").write_text("[chunking]\ntokens = 9\n", encoding="utf-8")
    smaller = _run(folder, paths)
    assert smaller.chunks > first.chunks
    (folder / "domain.toml").write_text('embedder.dtype = "fp32"\n', encoding="utf-8")
    other = _run(folder, paths, HashEmbedder("hash/2"))
    assert (other.embedded, other.chunks) == (6, first.chunks)


def test_a_lost_or_damaged_snapshot_is_made_again(folder: Path, paths: Paths) -> None:
    first = _run(folder, paths)
    (paths.snapshot("kitchen", first.snapshot) / "passages.faiss").unlink()
    second = _run(folder, paths)
    assert second.snapshot == first.snapshot
    open_snapshot(paths.snapshot("kitchen", second.snapshot)).close()


def test_a_plan_names_what_a_run_would_do_and_writes_nothing(folder: Path, paths: Paths) -> None:
    job = IndexJob(load_domain(folder), paths)
    assert job.plan().new == ["kettle.md", "notes/fridge.txt", "toaster.html"]
    assert not paths.root.exists()
    _run(folder, paths)
    _edit(folder)
    (folder / "documents" / "x.png").write_bytes(b"")
    plan = IndexJob(load_domain(folder), paths).plan()
    assert (plan.new, plan.changed, plan.gone) == (["oven.md"], ["kettle.md"], ["toaster.html"])
    assert (plan.unchanged, plan.demonstrations) == (["notes/fridge.txt"], 2)
    assert [rejected.path for rejected in plan.quarantined] == ["x.png"]


def test_a_document_that_cannot_be_read_does_not_stop_the_others(
    folder: Path, paths: Paths
) -> None:
    (folder / "documents" / "bad.txt").write_bytes(b"a\0b")
    result = _run(folder, paths)
    assert result.documents == 3
    assert [(rejected.path, "NUL" in rejected.reason) for rejected in result.rejected] == [
        ("bad.txt", True)
    ]


def test_bad_input_leaves_the_store_as_it_was(folder: Path, paths: Paths) -> None:
    _run(folder, paths)
    write_atomically(paths.live("kitchen"), b"1")
    before = _published(paths)
    for name in ("kettle.md", "toaster.html", "notes/fridge.txt"):
        (folder / "documents" / name).write_bytes(b"a\0b")
    with pytest.raises(BadInput, match=r"None of the 3 documents.*kettle\.md"):
        _run(folder, paths)
    assert _published(paths) == before


def test_an_archive_that_holds_nothing_is_bad_input(folder: Path, paths: Paths) -> None:
    for name in ("kettle.md", "toaster.html", "notes/fridge.txt"):
        (folder / "documents" / name).unlink()
    with zipfile.ZipFile(folder / "documents" / "a.zip", "w") as archive:
        archive.writestr(".hidden.md", "Hot.")
    with pytest.raises(BadInput, match=r"None of the 1 documents of 'kitchen' can be used"):
        _run(folder, paths)


def test_chunks_that_the_embedder_would_cut_are_refused(folder: Path, paths: Paths) -> None:
    (folder / "domain.toml").write_text("[chunking]\ntokens = 500\n", encoding="utf-8")
    with pytest.raises(BadInput, match=r"`chunking\.tokens` = 500 is more than the 128"):
        _run(folder, paths)


def test_two_jobs_at_once_are_refused(folder: Path, paths: Paths) -> None:
    def start_another(progress: Progress) -> None:
        if progress.phase == "embed":
            with pytest.raises(StoreError, match="Another job is indexing"):
                _run(folder, paths)

    IndexJob(load_domain(folder), paths, start_another, HashEmbedder()).run()
    assert _run(folder, paths).reused == 6


@pytest.mark.parametrize("largest_file", [1, 600, 5_000, 9_000, 40_000])
def test_a_full_disk_is_a_store_error_and_changes_nothing_published(
    folder: Path, paths: Paths, largest_file: int
) -> None:
    first = _run(folder, paths)
    write_atomically(paths.live("kitchen"), b"1")
    before = _published(paths)
    (folder / "documents" / "long.md").write_text(
        "# Long\n\n" + "".join(f"Sentence {n} is here.\n" for n in range(900)), encoding="utf-8"
    )
    code, _, err = finish(start(folder, paths, "--largest", str(largest_file)))
    assert code == 3
    assert err.startswith("StoreError: Cannot use ")
    assert _published(paths) == before
    assert os.listdir(paths.snapshots("kitchen")) == [first.snapshot]
    assert _run(folder, paths).documents == 4


def test_looking_at_a_domain_loads_no_embedding_model_and_no_index() -> None:
    code = (
        "import sys, indexer.job.run, indexer.domain, indexer.reading.sources;"
        "print([name for name in ('torch', 'transformers') if name in sys.modules])"
    )
    command = [sys.executable, "-c", code]
    child = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    assert child.stdout.strip() == "[]"


def test_a_domain_is_indexed_with_the_packaged_model(domain: Domain, paths: Paths) -> None:
    result = IndexJob(domain, paths).run()
    snapshot = open_snapshot(paths.snapshot("kitchen", result.snapshot))
    assert snapshot.manifest.embedder.dimension == 384
    snapshot.close()
    assert IndexJob(domain, paths).run().snapshot == result.snapshot


@pytest.mark.slow
def test_what_is_split_before_the_model_is_loaded_gives_the_same_bytes(
    folder: Path, paths: Paths, tmp_path: Path
) -> None:
    IndexJob(load_domain(folder), paths).run()
    _edit(folder)
    reports: list[Progress] = []
    changed = IndexJob(load_domain(folder), paths, reports.append).run()
    phases = list(dict.fromkeys(report.phase for report in reports))
    assert phases.index("split") < phases.index("write") < phases.index("embed")
    afresh = IndexJob(load_domain(folder), Paths(tmp_path / "afresh")).run()
    assert changed.snapshot == afresh.snapshot
    assert changed.embedded < afresh.embedded
