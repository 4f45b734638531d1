"""kill -9 at any moment, then the same command: the same bytes as if nothing had happened.

That these tests can fail was tried by mutations, one at a time; each made at least one fail:
- drafts with a name like a snapshot's (killed in `write`: a torn snapshot is found);
- changes that leave the mark of the published snapshot (killed in `read`: it counts as current);
- a resumed run that takes what was split for embedded (killed in `embed`: a vector is missing);
- drafts of killed jobs that are not removed (killed in `write`: one is left).
"""

import random
import shutil
import sqlite3
import subprocess
import sys
import time
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import pytest

from indexer.settings import Paths, write_atomically
from indexer.store.snapshot import check_snapshot
from tests.indexer.conftest import ROOT, write_domain
from tests.indexer.job.children import files_of, finish, follow, start, write_corpus

PHASES = "scan read split embed write vectors words verify publish tidy".split()
MOMENTS = 20

pytestmark = pytest.mark.slow


@dataclass(frozen=True)
class Undisturbed:
    """A corpus, what indexing it gives when nothing happens, and how long that takes."""

    folder: Path
    snapshot: str
    files: dict[str, bytes]
    seconds: float


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> Undisturbed:
    home = tmp_path_factory.mktemp("corpus")
    folder, paths = write_domain(home / "kitchen"), Paths(home / "store")
    write_corpus(folder)
    child = start(folder, paths)
    assert child.stdout is not None
    child.stdout.readline()
    began = time.monotonic()
    code, result, err = finish(child)
    seconds = time.monotonic() - began
    assert code == 0, err
    name = str(result["snapshot"])
    return Undisturbed(folder, name, files_of(paths.snapshot("kitchen", name)), seconds)


def _check_store(paths: Paths) -> None:
    """What a kill may leave: whole snapshots, drafts out of sight, and a sound catalog."""
    copy = Paths(paths.root.with_name("copy"))  # a look at the catalog itself would mend its log
    shutil.rmtree(copy.root, ignore_errors=True)
    shutil.copytree(paths.root, copy.root)
    for snapshot in copy.snapshots("kitchen").glob("[!.]*"):
        check_snapshot(snapshot)
    with closing(sqlite3.connect(copy.catalog("kitchen"))) as catalog:
        assert catalog.execute("PRAGMA integrity_check").fetchall() == [("ok",)]


def _resume(undisturbed: Undisturbed, paths: Paths) -> int:
    """Run the same command again; the number of texts that it still had to embed."""
    code, result, err = finish(start(undisturbed.folder, paths))
    assert (code, result.get("snapshot")) == (0, undisturbed.snapshot), err
    assert files_of(paths.snapshots("kitchen")) == {
        f"{undisturbed.snapshot}/{name}": content for name, content in undisturbed.files.items()
    }
    return int(result["embedded"])


def test_a_job_killed_at_random_moments_ends_with_the_same_bytes(
    undisturbed: Undisturbed, tmp_path: Path
) -> None:
    moments = random.Random(3)
    killed = 0
    for number in range(MOMENTS):
        paths = Paths(tmp_path / f"store{number}")
        child = start(undisturbed.folder, paths)
        assert child.stdout is not None
        child.stdout.readline()
        time.sleep(moments.uniform(0, undisturbed.seconds))
        child.kill()
        killed += finish(child)[0] == -9
        _check_store(paths)
        _resume(undisturbed, paths)
    assert killed > MOMENTS // 2


def test_a_job_killed_again_and_again_gets_on_and_ends(
    undisturbed: Undisturbed, tmp_path: Path
) -> None:
    paths = Paths(tmp_path / "store")
    for phase in PHASES:
        child = start(undisturbed.folder, paths, "--lockstep")
        follow(child, phase)
        child.kill()
        finish(child)
        _check_store(paths)
    _resume(undisturbed, paths)


@pytest.mark.parametrize("phase", PHASES)
def test_a_job_killed_in_a_phase_ends_with_the_same_bytes(
    undisturbed: Undisturbed, tmp_path: Path, phase: str
) -> None:
    paths = Paths(tmp_path / "store")
    child = start(undisturbed.folder, paths, "--lockstep")
    assert follow(child, phase), f"the job never came to {phase}"
    child.kill()
    assert finish(child)[0] == -9
    _check_store(paths)
    embedded = _resume(undisturbed, paths)
    after_embedding = PHASES.index(phase) > PHASES.index("embed")
    assert embedded == (0 if after_embedding else embedded)


@pytest.mark.parametrize("phase", ["read", "embed", "verify", "tidy"])
def test_what_is_live_outlives_a_kill_while_it_is_renewed(
    undisturbed: Undisturbed, tmp_path: Path, phase: str
) -> None:
    folder, paths = tmp_path / "kitchen", Paths(tmp_path / "store")
    shutil.copytree(undisturbed.folder, folder)
    finish(start(folder, paths))
    write_atomically(paths.live("kitchen"), b"1")
    (folder / "documents" / "device001.md").write_text("# Device 1\n\nIt is new.\n", "utf-8")
    (folder / "documents" / "device002.md").unlink()
    child = start(folder, paths, "--lockstep")
    assert follow(child, phase)
    child.kill()
    finish(child)
    assert paths.live("kitchen").read_bytes() == b"1"
    assert files_of(paths.snapshot("kitchen", undisturbed.snapshot)) == undisturbed.files
    afresh = finish(start(folder, Paths(tmp_path / "afresh")))[1]["snapshot"]
    code, result, err = finish(start(folder, paths))
    assert (code, result.get("snapshot")) == (0, afresh), err


def test_the_packaged_model_goes_on_where_it_was_killed(folder: Path, tmp_path: Path) -> None:
    write_corpus(folder, 80)
    stores = [tmp_path / "killed", tmp_path / "undisturbed"]
    command = [sys.executable, "-c", _REAL, str(folder)]
    child = subprocess.Popen(
        [*command, str(stores[0])], cwd=ROOT, stdout=subprocess.PIPE, text=True
    )
    assert child.stdout is not None
    embedded = (line for line in child.stdout if line.startswith("embed"))
    next(embedded)
    began = time.monotonic()
    while time.monotonic() - began < 1.5:  # what is kept is committed once a second
        next(embedded)
    child.kill()
    assert finish_quietly(child) == -9
    results = [
        subprocess.run([*command, str(store)], cwd=ROOT, capture_output=True, text=True, check=True)
        for store in stores
    ]
    killed, undisturbed = (result.stdout.split()[-2:] for result in results)
    assert killed[0] == undisturbed[0]
    assert 0 < int(killed[1]) < int(undisturbed[1])
    one, other = (files_of(Paths(store).snapshots("kitchen")) for store in stores)
    assert one == other


def finish_quietly(child: "subprocess.Popen[str]") -> int:
    child.communicate()
    return child.returncode


_REAL = """
import sys, time
from pathlib import Path
from indexer.domain import load_domain
from indexer.job.run import IndexJob
from indexer.settings import Paths

def report(progress):
    print(progress.phase, progress.done, flush=True)

result = IndexJob(load_domain(Path(sys.argv[1])), Paths(Path(sys.argv[2])), report).run()
print(result.snapshot, result.embedded)
"""
