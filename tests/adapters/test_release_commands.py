"""`dslm release`: what the commands print, change and refuse."""

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from adapters.command_line import Workplace
from adapters.lease import ReleaseLease
from adapters.release import ReleaseStore
from adapters.snapshot_commands import snapshot_app
from adapters.traffic_commands import release_app
from indexer.errors import BadInput, DslmError, NotFound
from indexer.settings import Paths
from tests.adapters.test_release import SNAPSHOT, make_domain, put_snapshot

Run = Callable[..., Result]


@pytest.fixture
def place(paths: Paths, tmp_path: Path) -> Workplace:
    """A domain with releases 1 and 2, of which 1 is live."""
    put_snapshot(paths)
    put_snapshot(paths, "bbbb")
    folder = tmp_path / "domains" / "support"
    folder.mkdir(parents=True)
    (folder / "domain.toml").write_text("", encoding="utf-8")
    store = ReleaseStore(paths)
    store.create(make_domain(tmp_path), snapshot=SNAPSHOT)
    store.create(make_domain(tmp_path), snapshot="bbbb", activate=False)
    return Workplace(paths, tmp_path / "domains", "no base", 16)


@pytest.fixture
def store(place: Workplace) -> ReleaseStore:
    return ReleaseStore(place.paths)


@pytest.fixture
def run(place: Workplace) -> Run:
    def command(*words: str) -> Result:
        return CliRunner().invoke(release_app, words, obj=lambda: place, catch_exceptions=True)

    return command


def last(store: ReleaseStore) -> tuple[str, int | None, int | None, str]:
    entry = store.audit("support").read()[0][-1]
    return (entry.action, entry.old, entry.new, entry.why)


def test_a_release_is_made_from_parts(run: Run, store: ReleaseStore) -> None:
    words = ["create", "support", "--snapshot", "bb", "--note", "try it"]
    words += ["--set", "retrieval.passages=6", "--set", "answer.refusal=No idea."]
    assert run(*words).output == (
        "support: release 3 waits for `dslm release activate support 3`\n"
    )
    made = store.get("support", 3)
    assert (made.snapshot, made.note, made.retrieval.passages) == ("bbbb", "try it", 6)
    assert made.refusal == "No idea."
    diff = run("diff", "support", "3").output.splitlines()
    assert 'snapshot: "aaaa" -> "bbbb"' in diff
    assert "retrieval.passages: 4 -> 6" in diff
    assert "retrieval.passages: 6 -> 4" in run("diff", "support", "3", "1").output
    assert run("create", "support", "--activate").output == "support: release 4 is live\n"
    assert json.loads(run("show", "support", "4").output)["retrieval"]["passages"] == 4


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["--set", "passages=6"], "`passages=6` changes no setting"),
        (["--set", "answer.mode"], "`answer.mode` changes no setting"),
        (["--set", "embedder.name=x"], "changes no setting"),
        (["--set", "answer.mode=7"], "`answer.mode` = 7"),
        (["--set", "retrieval.passages=many"], "`retrieval.passages` = 'many'"),
        (["--adapter", "x", "--no-adapter"], "contradict"),
        (["--adapter", "nobody"], "no adapter nobody"),
        (["--snapshot", "zz"], "no snapshot zz"),
    ],
)
def test_what_cannot_be_made_is_named(
    run: Run, store: ReleaseStore, words: list[str], told: str
) -> None:
    error = run("create", "support", *words).exception
    assert isinstance(error, DslmError)
    assert told in str(error)
    assert list(store.numbers("support")) == [1, 2]


def test_moving_live_is_signed_with_its_reason(run: Run, store: ReleaseStore) -> None:
    run("activate", "support", "2", "--why", "better")
    assert last(store) == ("activate", 1, 2, "better")
    assert run("rollback", "support", "--why", "worse").output == (
        "support answers with release 1\n"
    )
    assert last(store) == ("rollback", 2, 1, "worse")
    told = run("audit", "support", "--last", "2").output.splitlines()
    assert len(told) == 2
    assert told[1].endswith("worse")
    assert "rollback  2 -> 1  user:" in told[1]
    as_json = json.loads(run("audit", "support", "--last", "1", "--json").output)
    assert (as_json["from"], as_json["to"]) == (2, 1)


def test_a_reason_that_is_no_text_or_steers_a_terminal_is_kept_and_shown_safely(
    run: Run, store: ReleaseStore
) -> None:
    run("activate", "support", "2", "--why", "a\udcff\x1b[2Jb\nc")
    assert last(store)[3] == "a?\x1b[2Jb\nc"
    (line,) = run("audit", "support", "--last", "1").output.splitlines()
    assert line.endswith("a? [2Jb c")
    assert run("create", "support", "--note", "\udcff").exception is None
    assert store.get("support", 3).note == "?"


def test_half_a_line_of_the_audit_is_told(run: Run, store: ReleaseStore) -> None:
    path = store.audit("support").path
    path.write_bytes(path.read_bytes() + b'{"at"')
    found = run("audit", "support")
    assert f"1 lines cannot be read: {path}" in found.output


def test_a_canary_is_begun_shown_promoted_and_dropped(run: Run, store: ReleaseStore) -> None:
    assert run("canary", "support").output == "support has no canary\n"
    begun = run("canary", "support", "2", "--share", "0.125", "--why", "try")
    assert begun.output == "support: release 2 answers for 12.50% of the callers\n"
    assert last(store) == ("canary", None, 2, "try")
    listed = run("list", "support").output.splitlines()
    assert "canary" in listed[1]
    assert listed[0].startswith("* 1")
    assert run("canary", "support", "--drop").output == "support has no canary\n"
    run("canary", "support", "2")
    assert run("canary", "support", "--promote").output == "support answers with release 2\n"
    assert last(store)[:3] == ("promote", 1, 2)


def test_a_mirror_is_begun_shown_and_ended(run: Run, store: ReleaseStore) -> None:
    told = run("mirror", "support", "2", "--per-minute", "6", "--max-mb", "3").output
    assert told == (
        "support: release 2 is asked 100.00% of the requests again, at most 6 a minute\n"
    )
    mirror = store.traffic("support").mirror
    assert mirror is not None
    assert (mirror.per_minute, mirror.max_mb) == (6, 3)
    assert run("mirror", "support", "--stop").output == "support has no mirror\n"


def test_the_mirror_says_before_it_begins_that_it_keeps_text(run: Run) -> None:
    said = " ".join(run("mirror", "--help").output.split())
    assert "KEEPS TEXT: both answers" in said


@pytest.mark.parametrize(
    ("words", "error"),
    [
        (["canary", "support", "1"], BadInput),
        (["canary", "support", "9"], NotFound),
        (["canary", "support", "2", "--share", "0"], BadInput),
        (["canary", "support", "2", "--share", "1.5"], BadInput),
        (["canary", "support", "2", "--share", "nan"], BadInput),
        (["canary", "support", "2", "--drop"], BadInput),
        (["canary", "support", "--drop", "--promote"], BadInput),
        (["canary", "support", "--drop"], BadInput),
        (["canary", "support", "--promote"], BadInput),
        (["mirror", "support", "--stop"], BadInput),
        (["mirror", "support", "2", "--stop"], BadInput),
        (["mirror", "garden", "2"], NotFound),
        (["diff", "support", "9"], NotFound),
        (["audit", "garden"], NotFound),
    ],
)
def test_what_cannot_be_is_refused(
    run: Run, store: ReleaseStore, words: list[str], error: type[Exception]
) -> None:
    assert isinstance(run(*words).exception, error)
    assert store.traffic("support").releases() == {}


def test_pruning_says_what_would_go_and_frees_the_snapshots(
    run: Run, store: ReleaseStore, place: Workplace, tmp_path: Path
) -> None:
    for _ in range(3):
        store.create(make_domain(tmp_path), snapshot="bbbb")
    said = run("prune", "support", "--keep", "0").output.splitlines()
    assert said[0] == "1  aaaa  would go"
    assert said[-1] == "4 releases to remove; add --yes; 1 snapshots that no other release names"
    lease = ReleaseLease(store.file("support", 3))
    done = run("prune", "support", "--keep", "0", "--yes", "--why", "old").output.splitlines()
    lease.end()
    assert "3  bbbb  stays, a process has it open" in done
    assert list(store.numbers("support")) == [3, 5]
    assert last(store) == ("prune", None, None, "old")
    words = ["prune", "support", "--keep", "0", "--yes"]
    freed = CliRunner().invoke(snapshot_app, words, obj=lambda: place).output
    assert freed.startswith("aaaa")
    assert os.listdir(place.paths.snapshots("support")) == ["bbbb"]


def test_a_store_without_releases_prunes_nothing(run: Run, place: Workplace) -> None:
    shutil.rmtree(place.paths.root)
    assert run("prune", "support", "--yes").output.startswith("0 releases removed")
