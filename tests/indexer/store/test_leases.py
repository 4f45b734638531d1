"""A snapshot that is open is known to be; whoever wants it alone has to wait until it is closed."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from indexer.errors import StoreError
from indexer.settings import Paths
from indexer.store.leases import Lease, sole
from indexer.store.snapshot import open_snapshot, write_snapshot
from tests.indexer.conftest import ROOT
from tests.indexer.store.test_snapshot import _content


def _alone(snapshot: Path) -> bool:
    with sole(snapshot) as alone:
        return alone


@pytest.fixture
def bare(tmp_path: Path) -> Path:
    """As much of a snapshot as a lease looks at."""
    (tmp_path / "bare").mkdir()
    (tmp_path / "bare" / "manifest.json").write_text("{}")
    return tmp_path / "bare"


def test_an_open_snapshot_is_in_use_until_its_last_reader_closes_it(paths: Paths) -> None:
    folder = paths.snapshot("kitchen", write_snapshot(paths, _content()))
    before = sorted(folder.rglob("*"))
    assert _alone(folder)
    one, other = open_snapshot(folder), open_snapshot(folder)
    assert not _alone(folder)
    one.close()
    one.close()
    assert not _alone(folder)
    other.close()
    assert _alone(folder)
    assert sorted(folder.rglob("*")) == before


def test_a_snapshot_that_could_not_be_opened_is_not_in_use(paths: Paths) -> None:
    folder = paths.snapshot("kitchen", write_snapshot(paths, _content()))
    size = (folder / "passages.faiss").stat().st_size
    (folder / "passages.faiss").write_bytes(b"\1" * size)
    with pytest.raises(StoreError):
        open_snapshot(folder)
    assert _alone(folder)


def test_a_lease_ends_with_its_process_however_it_ends(bare: Path) -> None:
    program = (
        "import sys, time; from pathlib import Path; from indexer.store.leases import Lease;"
        " lease = Lease(Path(sys.argv[1])); print('held', flush=True); time.sleep(60)"
    )
    command = [sys.executable, "-c", program, str(bare)]
    child = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)
    with child:
        assert child.stdout is not None
        assert child.stdout.readline() == "held\n"
        assert not _alone(bare)
        child.kill()
    assert _alone(bare)


def test_what_is_being_removed_cannot_be_opened(bare: Path) -> None:
    with sole(bare) as alone:
        assert alone
        with pytest.raises(StoreError, match="being removed"):
            Lease(bare)
    Lease(bare).release()


def test_what_was_moved_away_meanwhile_is_not_leased(
    bare: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def moved(file: object, operation: int) -> None:
        os.rename(bare, bare.with_name("aside"))

    monkeypatch.setattr("indexer.store.leases.fcntl.flock", moved)
    with pytest.raises(StoreError, match="being removed"):
        Lease(bare)


def test_what_may_only_be_read_is_leased_too(bare: Path) -> None:
    (bare / "manifest.json").chmod(0o444)
    lease = Lease(bare)
    assert not _alone(bare)
    lease.release()


def test_a_snapshot_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="nowhere"):
        Lease(tmp_path / "nowhere")
