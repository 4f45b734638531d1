"""`dslm snapshot`: listed, verified, pruned, taken out and in as the commands say."""

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from adapters.command_line import Workplace
from adapters.release import ReleaseStore
from adapters.snapshot_commands import snapshot_app
from indexer.domain import load_domain
from indexer.errors import BadInput, NotFound, StoreError
from indexer.job.lock import locked
from indexer.settings import Paths
from indexer.store.leases import Lease
from indexer.store.snapshot import write_snapshot
from tests.indexer.store.test_snapshot import _content

Run = Callable[..., Result]
TOML = '[embedder]\nname = "hash"\n[snapshots]\nkeep = 1\n'


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store with two snapshots, the second of which is newer."""
    paths = Paths(tmp_path_factory.mktemp("made") / "store")
    for time, text in enumerate(("One. Two.", "Three. Four.")):
        folder = paths.snapshot("kitchen", write_snapshot(paths, _content(text)))
        os.utime(folder / "manifest.json", (time, time))
    return paths.root


@pytest.fixture
def place(made: Path, tmp_path: Path) -> Workplace:
    shutil.copytree(made, tmp_path / "store")
    folder = tmp_path / "domains" / "kitchen"
    folder.mkdir(parents=True)
    (folder / "domain.toml").write_text(TOML, encoding="utf-8")
    return Workplace(Paths(tmp_path / "store"), tmp_path / "domains", "no base", 16)


@pytest.fixture
def run(place: Workplace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    monkeypatch.chdir(tmp_path)

    def command(*words: str) -> Result:
        return CliRunner().invoke(snapshot_app, words, obj=lambda: place, catch_exceptions=True)

    return command


@pytest.fixture
def ids(place: Workplace) -> list[str]:
    """Newest first."""
    folders = place.paths.snapshots("kitchen").iterdir()
    times = {f.name: (f / "manifest.json").stat().st_mtime for f in folders}
    return sorted(times, key=lambda name: -times[name])


@pytest.fixture
def store(place: Workplace, ids: list[str]) -> ReleaseStore:
    """The older snapshot was released first and is live again, the newer one waits."""
    found = ReleaseStore(place.paths)
    domain = load_domain(place.domains / "kitchen")
    found.create(domain, snapshot=ids[1])
    found.create(domain, snapshot=ids[1], activate=False)
    return found


def test_the_list_says_what_each_holds_and_who_needs_it(
    run: Run, ids: list[str], store: ReleaseStore, place: Workplace
) -> None:
    lease = Lease(place.paths.snapshot("kitchen", ids[0]))
    newer, older = run("list", "kitchen").output.splitlines()
    lease.release()
    assert newer.startswith(f"{ids[0]}  1970-01-01 00:00  ")
    assert newer.endswith("2 documents  2 passages  open")
    assert older.startswith(ids[1])
    assert older.endswith("2 documents  2 passages  release 1*, 2")


def test_all_or_one_are_verified(run: Run, ids: list[str], place: Workplace) -> None:
    damaged = place.paths.snapshot("kitchen", ids[0]) / "records.db"
    damaged.write_bytes(damaged.read_bytes()[:-1] + b"\1")
    found = run("verify", "kitchen")
    assert found.exit_code == 3
    assert found.output.startswith(f"{ids[0]}  {damaged}")
    assert found.output.endswith(f"{ids[1]}  ok\n")
    assert run("verify", "kitchen", ids[1][:6]).output == f"{ids[1]}  ok\n"


def test_pruning_only_says_what_it_would_do_until_told(run: Run, ids: list[str]) -> None:
    found = run("prune", "kitchen")
    assert found.exit_code == 0
    assert found.output.splitlines()[0].startswith(f"{ids[1]}  ")
    assert found.output.splitlines()[0].endswith("would go")
    assert found.output.splitlines()[1].endswith("to free; add --yes to remove them")
    assert run("prune", "kitchen").output == found.output


def test_pruning_removes_what_nobody_needs(run: Run, ids: list[str], place: Workplace) -> None:
    assert run("prune", "kitchen", "--yes").output.splitlines()[0].endswith("removed")
    assert os.listdir(place.paths.snapshots("kitchen")) == [ids[0]]
    assert run("prune", "kitchen", "--yes").output == "0.0 MB freed\n"


def test_pruning_leaves_what_a_release_names(
    run: Run, ids: list[str], store: ReleaseStore, place: Workplace
) -> None:
    run("prune", "kitchen", "--yes", "--keep", "0")
    assert os.listdir(place.paths.snapshots("kitchen")) == [ids[1]]


def test_pruning_leaves_what_a_process_has_open(run: Run, ids: list[str], place: Workplace) -> None:
    lease = Lease(place.paths.snapshot("kitchen", ids[1]))
    for words in (["prune", "kitchen"], ["prune", "kitchen", "--yes"]):
        found = run(*words).output.splitlines()
        assert found[0].endswith("stays, a process has it open")
        assert found[1].startswith("0.0 MB")
    lease.release()
    assert len(os.listdir(place.paths.snapshots("kitchen"))) == 2


@pytest.mark.parametrize("words", [["prune", "kitchen"], ["import", "kitchen", "s.tar"]])
def test_a_running_job_is_not_disturbed(run: Run, place: Workplace, words: list[str]) -> None:
    with locked(place.paths.domain("kitchen")):
        assert isinstance(run(*words).exception, StoreError)


def test_a_release_that_cannot_be_read_stops_the_pruning(
    run: Run, store: ReleaseStore, place: Workplace
) -> None:
    (place.paths.releases("kitchen") / "1.json").write_text("{", encoding="utf-8")
    assert run("prune", "kitchen", "--yes", "--keep", "0").exception is not None
    assert len(os.listdir(place.paths.snapshots("kitchen"))) == 2


def test_the_live_snapshot_is_exported_unless_another_is_named(
    run: Run, ids: list[str], store: ReleaseStore, tmp_path: Path
) -> None:
    assert run("export", "kitchen").output.startswith(f"kitchen-{ids[1]}.tar  ")
    assert run("export", "kitchen", ids[0], "--to", "s.tar").exit_code == 0
    assert {f.name for f in tmp_path.glob("*.tar")} == {f"kitchen-{ids[1]}.tar", "s.tar"}


def test_without_a_release_the_newest_is_exported(run: Run, ids: list[str]) -> None:
    assert run("export", "kitchen").output.startswith(f"kitchen-{ids[0]}.tar  ")


def test_what_was_exported_is_imported_and_released(
    run: Run, ids: list[str], place: Workplace
) -> None:
    run("export", "kitchen", "--to", "s.tar")
    shutil.rmtree(place.paths.snapshots("kitchen"))
    assert run("import", "kitchen", "s.tar").output == f"{ids[0]}\n"
    assert ReleaseStore(place.paths).live("kitchen") is None
    found = run("import", "kitchen", "s.tar", "--release")
    assert found.output == f"{ids[0]}\nrelease 1 is live\n"
    live = ReleaseStore(place.paths).live("kitchen")
    assert live is not None
    assert (live.snapshot, live.note) == (ids[0], "from s.tar")


@pytest.mark.parametrize(
    ("words", "error"),
    [
        (["list", "garden"], NotFound),
        (["verify", "kitchen", "zz"], NotFound),
        (["export", "kitchen", "--to", "nowhere/s.tar"], BadInput),
        (["import", "kitchen", "nothing.tar"], BadInput),
    ],
)
def test_what_is_not_there_is_named(run: Run, words: list[str], error: type[Exception]) -> None:
    assert isinstance(run(*words).exception, error)


def test_a_domain_without_snapshots_says_so(run: Run, place: Workplace) -> None:
    shutil.rmtree(place.paths.snapshots("kitchen"))
    assert run("list", "kitchen").output == ""
    assert isinstance(run("export", "kitchen").exception, NotFound)
