"""A signal ends a job within one batch and everything so far is kept; a full disk ends it too."""

import os
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from indexer.domain import load_domain
from indexer.job.run import Cancelled, IndexJob, Progress
from indexer.settings import Paths, write_atomically
from indexer.store.catalog import Catalog
from indexer.store.snapshot import check_snapshot, open_snapshot
from tests.indexer.hash_embedder import BATCH, HashEmbedder
from tests.indexer.job.children import files_of, finish, follow, start, write_corpus


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_cancels_and_what_was_done_is_kept(
    folder: Path, paths: Paths, number: signal.Signals
) -> None:
    write_corpus(folder, 12)
    child = start(folder, paths, "--lockstep")
    assert follow(child, "write")
    child.send_signal(number)
    time.sleep(0.1)
    began = time.monotonic()
    code, _, err = finish(child)
    assert (code, "what was done is kept" in err) == (130, True)
    assert time.monotonic() - began < 5
    assert list(paths.snapshots("kitchen").iterdir()) == []
    result = finish(start(folder, paths))[1]
    assert result["embedded"] == 0


def test_a_job_is_cancelled_within_one_batch(folder: Path, paths: Paths) -> None:
    write_corpus(folder, 12)
    stop = False
    embedder = HashEmbedder()

    def report(progress: Progress) -> None:
        nonlocal stop
        stop = stop or (progress.phase == "embed" and progress.done > 0)

    job = IndexJob(load_domain(folder), paths, report, embedder, stopped=lambda: stop)
    with pytest.raises(Cancelled):
        job.run()
    with Catalog.read_only(paths.catalog("kitchen")) as catalog:
        kept = catalog.count("SELECT count(*) FROM vectors")
    assert BATCH <= kept <= embedder.embedded
    rest = HashEmbedder()
    result = IndexJob(load_domain(folder), paths, embedder=rest).run()
    assert result.embedded == rest.embedded <= result.chunks + result.duplicates - kept + 4


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 3 MB."""
    place = tmp_path / "disk"
    place.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=3m", "tmpfs", str(place)]
    if os.geteuid() != 0 or subprocess.run(command, capture_output=True, check=False).returncode:
        pytest.skip("a file system can be mounted by root only")
    yield place
    subprocess.run(["umount", "-l", str(place)], check=True)


@pytest.mark.parametrize("free", [0, 60_000, 200_000, 300_000, 400_000])
def test_a_full_disk_is_told_and_the_next_run_succeeds(
    folder: Path, small_disk: Path, free: int
) -> None:
    paths = Paths(small_disk / "store")
    first = finish(start(folder, paths))[1]["snapshot"]
    write_atomically(paths.live("kitchen"), b"1")
    before = files_of(paths.snapshot("kitchen", first))
    write_corpus(folder, 20)
    left = shutil.disk_usage(small_disk).free - free
    (small_disk / "filler").write_bytes(b"0" * (left // 4096 * 4096))
    code, _, err = finish(start(folder, paths))
    assert code == 3, err
    assert "Free some disk space" in err
    assert files_of(paths.snapshot("kitchen", first)) == before
    assert paths.live("kitchen").read_bytes() == b"1"
    live = open_snapshot(paths.snapshot("kitchen", first))
    assert live.lexical.search("kettle", 1)[1].tolist() == [0]
    live.close()
    (small_disk / "filler").unlink()
    code, result, err = finish(start(folder, paths))
    assert code == 0, err
    check_snapshot(paths.snapshot("kitchen", result["snapshot"]))
