"""What became of a version, told by its record and by what answers; only the unneeded goes."""

import hashlib
import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from typer.testing import CliRunner

from adapters.audit import Cause
from adapters.base import BaseProfile
from adapters.command_line import Workplace
from adapters.commands import adapters_app
from adapters.errors import AdapterRefused
from adapters.garbage import collect
from adapters.gating import GateCheck, GateReport, GateReports
from adapters.lifecycle import Lifecycle, State
from adapters.manifest import AdapterManifest
from adapters.registry import AdapterRegistry
from adapters.release import ReleaseStore
from adapters.steering import drop_canary, set_canary
from adapters.traffic import Canary
from adapters.uses import is_live, uses
from indexer.domain import Domain, GateSettings
from indexer.errors import DslmError, NotFound, StoreError
from indexer.settings import Paths
from tests.adapters.test_release import SNAPSHOT, make_domain, put_snapshot

if TYPE_CHECKING:
    from .conftest import WriteAdapter

ME = Cause("user:me", "a test")
Add = Callable[..., AdapterManifest]


@pytest.fixture
def add(paths: Paths, base: BaseProfile, write_adapter: "WriteAdapter", tensors: Any) -> Add:
    def made(seed: int, **more: Any) -> AdapterManifest:
        folder = write_adapter(tensors(seed=seed), f"v{seed}")
        registry = AdapterRegistry(paths)
        return registry.add(folder, "style", base=base, prompt_format="sentences", **more)

    return made


@pytest.fixture
def support(tmp_path: Path, paths: Paths) -> Domain:
    put_snapshot(paths)
    (tmp_path / "domains").mkdir()
    return make_domain(tmp_path)


@pytest.fixture
def store(paths: Paths) -> ReleaseStore:
    return ReleaseStore(paths)


def state(paths: Paths, manifest: AdapterManifest) -> State:
    used = uses(paths).get(manifest.digest, ())
    return Lifecycle(paths).state(manifest.digest, is_live=is_live(used))


def told(paths: Paths, manifest: AdapterManifest) -> list[tuple[str, str, int | None]]:
    events = Lifecycle(paths).events(manifest.digest)
    return [(one.state, one.domain, one.release) for one in events]


def test_a_version_is_verified_then_live_then_retired_and_each_change_says_by_whom(
    paths: Paths, store: ReleaseStore, support: Domain, add: Add
) -> None:
    one, other = add(1, cause=ME), add(2)
    assert state(paths, one) == "verified"
    store.create(support, snapshot=SNAPSHOT, adapter=one, cause=ME)
    assert state(paths, one) == "live"
    store.create(support, adapter=other, cause=Cause("key:ops", "better"))
    assert (state(paths, one), state(paths, other)) == ("retired", "live")
    store.rollback("support", ME)
    assert (state(paths, one), state(paths, other)) == ("live", "retired")
    assert told(paths, one) == [
        ("verified", "", None),
        ("live", "support", 1),
        ("retired", "support", 1),
        ("live", "support", 1),
    ]
    events = Lifecycle(paths).events(one.digest)
    assert [(event.who, event.why) for event in events[:3]] == [
        ("user:me", "a test"),
        ("user:me", "a test"),
        ("key:ops", "better"),
    ]


def test_a_new_release_with_the_same_version_is_no_change_of_it(
    paths: Paths, store: ReleaseStore, support: Domain, add: Add
) -> None:
    one = add(1)
    store.create(support, snapshot=SNAPSHOT, adapter=one)
    store.create(support)
    assert told(paths, one) == [("verified", "", None), ("live", "support", 1)]


def test_a_canarys_version_is_live_as_long_as_it_answers(
    paths: Paths, store: ReleaseStore, support: Domain, add: Add
) -> None:
    store.create(support, snapshot=SNAPSHOT)
    one = add(1)
    waiting = store.create(support, adapter=one, activate=False)
    assert state(paths, one) == "verified"
    set_canary(store, "support", Canary(release=waiting.number, share=0.1), ME)
    assert state(paths, one) == "live"
    drop_canary(store, "support", ME)
    assert state(paths, one) == "verified"


def test_what_passed_the_gate_is_gated_and_its_record_names_the_report(
    paths: Paths, store: ReleaseStore, support: Domain, add: Add
) -> None:
    store.create(support, snapshot=SNAPSHOT)
    good, bad = add(1), add(2)
    for adapter in (good, bad):
        store.create(support, adapter=adapter, activate=False)
    for release, passed in ((2, True), (3, False)):
        write_report(paths, release, passed)
    assert (state(paths, good), state(paths, bad)) == ("gated", "verified")
    event = Lifecycle(paths).events(good.digest)[-1]
    report = GateReports(paths, "support").read(2, 1)
    assert report
    assert (event.domain, event.release, event.report) == ("support", 2, report.digest)


def test_diff_and_card_tell_what_the_gate_measured(
    paths: Paths, store: ReleaseStore, support: Domain, add: Add, base: BaseProfile
) -> None:
    store.create(support, snapshot=SNAPSHOT)
    for adapter in (add(1), add(2), add(3)):
        store.create(support, adapter=adapter, activate=False)
    write_report(paths, 2, True, 0.125)
    write_report(paths, 3, False, -0.5)
    said = run(paths, base, "diff", "style@1", "style@2")
    assert "gate of support: g: 0.125 -> -0.5\n" in said
    assert "gate of support: g: 0.125 -> -\n" in run(paths, base, "diff", "style@1", "style@3")
    card = run(paths, base, "card", "style@1")
    assert "| support: g | 0.125 |" in card
    assert "gated by support@2: against release 1" in card


def write_report(paths: Paths, release: int, passed: bool, measured: float = 0) -> None:
    reports = GateReports(paths, "support")
    store = ReleaseStore(paths)
    check = GateCheck(name="g", passed=passed, measured=measured, bound=0, cases=1, said="")
    report = GateReport(
        domain="support",
        release=release,
        against=1,
        release_digest=reports.release_digest(release),
        against_digest=reports.release_digest(1),
        settings=GateSettings(),
        questions={},
        answers=1,
        made=store.get("support", 1).created,
        passed=passed,
        checks=(check,),
    )
    reports.write(report.sealed())


def test_nothing_of_a_record_lies_in_the_versions_folder(
    paths: Paths, store: ReleaseStore, support: Domain, add: Add
) -> None:
    one = add(1)
    before = {
        path: path.stat().st_mtime_ns for path in AdapterRegistry(paths).folder(one).iterdir()
    }
    store.create(support, snapshot=SNAPSHOT, adapter=one)
    after = {path: path.stat().st_mtime_ns for path in AdapterRegistry(paths).folder(one).iterdir()}
    assert before == after


def test_half_a_line_of_a_killed_process_is_passed_over(paths: Paths, add: Add) -> None:
    one, lifecycle = add(1), Lifecycle(paths)
    with lifecycle.file(one.digest).open("ab") as file:
        file.write(b'{"at": "2026-')
    lifecycle.record(one.digest, "retired", ME)
    assert [state for state, _, _ in told(paths, one)] == ["verified", "retired"]


def test_a_record_cannot_make_a_version_live(paths: Paths, add: Add) -> None:
    """As after a kill between the record and LIVE: what answers tells, not what was written."""
    one = add(1)
    Lifecycle(paths).record(one.digest, "live", ME)
    assert state(paths, one) == "retired"


def test_no_release_takes_a_draft_before_it_is_verified(
    paths: Paths, store: ReleaseStore, support: Domain, add: Add, base: BaseProfile
) -> None:
    store.create(support, snapshot=SNAPSHOT)
    one = add(1, draft=True)
    assert state(paths, one) == "draft"
    with pytest.raises(AdapterRefused, match="style@1 is a draft"):
        store.create(support, adapter=one)
    assert run(paths, base, "verify", "style@1") == "style@1  whole, and fits the base\n"
    assert state(paths, one) == "verified"
    assert store.create(support, adapter=one).adapter


def test_only_what_nobody_needs_is_removed(
    paths: Paths, store: ReleaseStore, support: Domain, add: Add
) -> None:
    live, replaced, named, leased, gone, fresh = (add(seed) for seed in range(1, 7))
    store.create(support, snapshot=SNAPSHOT, adapter=replaced)
    store.create(support, adapter=live)
    lifecycle, registry = Lifecycle(paths), AdapterRegistry(paths)
    for manifest in (named, leased, gone):
        lifecycle.record(manifest.digest, "retired", ME)
    served = [support.model_copy(update={"adapter": "style@3"})]
    lease = registry.lease(leased)
    for dry in (True, False):
        found = collect(paths, served, ME, dry=dry)
        assert {one.manifest.label: one.kept for one in found.versions} == {
            "style@2": "release support@1",
            "style@3": "support's domain.toml names it",
            "style@4": "a process uses it",
            "style@5": "",
        }
        assert len(registry.list()) == (6 if dry else 5)
    lease.end()
    assert {one.label for one in registry.list()} == {f"style@{n}" for n in (1, 2, 3, 4, 6)}
    assert state(paths, fresh) == "verified"
    with pytest.raises(NotFound, match="files of style@5 were removed"):
        registry.get("style@5")
    assert told(paths, gone)[-1][0] == "retired"


def test_a_version_that_was_removed_keeps_its_number_and_comes_back_under_it(
    paths: Paths, support: Domain, add: Add
) -> None:
    one, other = add(1), add(2)
    for manifest in (one, other):
        Lifecycle(paths).record(manifest.digest, "retired", ME)
    assert len(collect(paths, [], ME, dry=False).versions) == 2
    assert AdapterRegistry(paths).list() == []
    assert add(3).label == "style@3"
    assert AdapterRegistry(paths).get("style").label == "style@3"
    assert add(2).label == "style@2"
    assert state(paths, other) == "verified"
    assert [one.label for one in AdapterRegistry(paths).list()] == ["style@2", "style@3"]


def test_a_draft_goes_once_it_is_old(paths: Paths, support: Domain, add: Add) -> None:
    add(1, draft=True)
    assert collect(paths, [], ME, dry=False, days=1).versions == []
    (one,) = collect(paths, [], ME, dry=False, days=-1).versions
    assert (one.state, one.kept) == ("draft", "")


def test_what_killed_processes_left_goes_and_what_is_being_added_stays_whole(
    paths: Paths, add: Add
) -> None:
    kept = add(1)
    lost = [paths.adapters / name for name in (".adding-x", ".removing-y", "0" * 64)]
    for folder in lost:
        folder.mkdir()
    assert sorted(collect(paths, [], ME, dry=True).leftovers) == sorted(lost)
    assert all(folder.exists() for folder in lost)
    collect(paths, [], ME, dry=False)
    assert not any(folder.exists() for folder in lost)
    assert AdapterRegistry(paths).get("style") == kept


def test_nothing_goes_while_a_release_cannot_be_read(
    paths: Paths, store: ReleaseStore, support: Domain, add: Add
) -> None:
    one = add(1)
    store.create(support, snapshot=SNAPSHOT)
    Lifecycle(paths).record(one.digest, "retired", ME)
    store.file("support", 1).write_text("{", encoding="utf-8")
    with pytest.raises(StoreError, match="damaged"):
        collect(paths, [], ME, dry=False)
    assert AdapterRegistry(paths).get("style") == one


ADDING = """
import sys
from pathlib import Path
from adapters.base import BaseProfile
from adapters.registry import AdapterRegistry
from indexer.settings import Paths
root, base, *folders = map(Path, sys.argv[1:])
for folder in folders:
    AdapterRegistry(Paths(root)).add(
        folder, "style", base=BaseProfile.read(base), prompt_format="sentences"
    )
"""


def test_who_shares_the_store_never_sees_half_a_version(
    paths: Paths, base: BaseProfile, write_adapter: "WriteAdapter", tensors: Any
) -> None:
    folders = [write_adapter(tensors(seed=seed), f"v{seed}") for seed in range(16)]
    halves = [folders[:8], folders[8:]]
    command = [sys.executable, "-c", ADDING, str(paths.root), str(base.folder)]
    adding = [subprocess.Popen([*command, *map(str, half)]) for half in halves]
    registry = AdapterRegistry(paths)
    try:
        while any(process.poll() is None for process in adding):
            whole(registry)
    finally:
        codes = [process.wait() for process in adding]
    assert codes == [0, 0]
    assert whole(registry) == 16
    assert sorted(one.version for one in registry.list()) == list(range(1, 17))


def whole(registry: AdapterRegistry) -> int:
    """How many versions are there, each with all of its files as they were added."""
    found = registry.list()
    for manifest in found:
        for name, digest in manifest.files.items():
            content = (registry.folder(manifest) / name).read_bytes()
            assert hashlib.sha256(content).hexdigest() == digest
    return len(found)


def run(paths: Paths, base: BaseProfile, *arguments: str, code: int = 0) -> str:
    place = Workplace(paths, paths.root.parent / "domains", str(base.folder), 8)
    done = CliRunner().invoke(adapters_app, arguments, obj=lambda: place)
    if isinstance(done.exception, DslmError):
        raise done.exception
    assert done.exit_code == code, done.output
    return done.output


def test_the_list_says_states_and_what_answers(
    paths: Paths, store: ReleaseStore, support: Domain, add: Add, base: BaseProfile
) -> None:
    one = add(1)
    add(2, draft=True)
    store.create(support, snapshot=SNAPSHOT, adapter=one)
    first, second = run(paths, base, "list").splitlines()
    assert first.startswith(f"style@1  {one.digest[:12]}  rank 4  sentences")
    assert first.endswith("live  live support@1")
    assert second.endswith("draft")
    shown = [json.loads(line) for line in run(paths, base, "list", "--json").splitlines()]
    assert [(row["label"], row["state"]) for row in shown] == [
        ("style@1", "live"),
        ("style@2", "draft"),
    ]


def test_verify_finds_what_is_not_as_it_was_added(
    paths: Paths, add: Add, base: BaseProfile
) -> None:
    add(1)
    damaged = AdapterRegistry(paths).folder(add(2)) / "adapter_model.safetensors"
    damaged.write_bytes(damaged.read_bytes()[:-1] + b"x")
    said = run(paths, base, "verify", code=3)
    assert said.splitlines()[0] == "style@1  whole, and fits the base"
    assert "is not what was added" in said.splitlines()[1]


def test_what_answers_cannot_be_retired_and_what_is_retired_can_go(
    paths: Paths, store: ReleaseStore, support: Domain, add: Add, base: BaseProfile
) -> None:
    store.create(support, snapshot=SNAPSHOT, adapter=add(1))
    add(2)
    with pytest.raises(DslmError, match="style@1 answers: live support@1"):
        run(paths, base, "retire", "style@1")
    assert run(paths, base, "retire", "style@2", "--why", "no use") == "style@2 is retired\n"
    assert "no use" in run(paths, base, "audit", "style@2")
    assert "would go" in run(paths, base, "gc")
    assert "removed" in run(paths, base, "gc", "--yes")
    assert len(run(paths, base, "list").splitlines()) == 1
