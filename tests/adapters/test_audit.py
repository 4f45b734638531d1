"""The audit: every change of what answers, by whom and why, whatever kills a writer."""

import getpass
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from adapters.audit import Audit, Cause, this_user
from adapters.release import ReleaseStore
from adapters.steering import drop_canary, end_mirror, set_canary, set_mirror
from adapters.traffic import Canary, Mirror
from indexer.errors import StoreError
from indexer.settings import Paths
from tests.adapters.test_release import SNAPSHOT, make_domain, put_snapshot

OPS = Cause("key:ops 1234", "because")


@pytest.fixture
def store(paths: Paths) -> ReleaseStore:
    put_snapshot(paths)
    return ReleaseStore(paths)


def moves(store: ReleaseStore) -> list[tuple[str, int | None, int | None]]:
    return [(entry.action, entry.old, entry.new) for entry in store.audit("support").read()[0]]


def test_every_change_is_told_with_who_from_what_to_what_and_why(
    store: ReleaseStore, tmp_path: Path
) -> None:
    domain = make_domain(tmp_path)
    store.create(domain, snapshot=SNAPSHOT, cause=OPS)
    store.create(domain, activate=False, cause=OPS)
    store.activate("support", 2, OPS)
    store.activate("support", 2, OPS)  # changes nothing
    store.rollback("support", OPS)
    set_canary(store, "support", Canary(release=2, share=0.25), OPS)
    set_canary(store, "support", Canary(release=2, share=0.25), OPS)  # changes nothing
    drop_canary(store, "support", OPS)
    set_mirror(store, "support", Mirror(release=2), OPS)
    end_mirror(store, "support", OPS)
    set_canary(store, "support", Canary(release=2, share=0.5), OPS)
    store.promote("support", OPS)
    assert moves(store) == [
        ("create", None, 1),
        ("activate", None, 1),
        ("create", 1, 2),
        ("activate", 1, 2),
        ("rollback", 2, 1),
        ("canary", None, 2),
        ("drop", 2, None),
        ("mirror", None, 2),
        ("unmirror", 2, None),
        ("canary", None, 2),
        ("promote", 1, 2),
    ]
    entries, broken = store.audit("support").read()
    assert broken == 0
    assert {(entry.who, entry.why, entry.domain) for entry in entries} == {
        ("key:ops 1234", "because", "support")
    }
    assert entries[5].more == {"share": 0.25}
    line = json.loads(store.audit("support").path.read_bytes().splitlines()[4])
    assert (line["from"], line["to"], line["action"]) == (2, 1, "rollback")


def test_a_change_that_nobody_signs_is_this_users(
    store: ReleaseStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    user = this_user().who
    monkeypatch.setenv("LOGNAME", "somebody-else")
    monkeypatch.setenv("USER", "somebody-else")
    assert getpass.getuser() == "somebody-else"
    store.create(make_domain(tmp_path), snapshot=SNAPSHOT, note="40 documents")
    entry = store.audit("support").read()[0][0]
    assert (entry.who, entry.why) == (user, "40 documents")


def test_a_change_that_fails_is_told_as_failed(
    store: ReleaseStore, tmp_path: Path, paths: Paths, monkeypatch: pytest.MonkeyPatch
) -> None:
    store.create(make_domain(tmp_path), snapshot=SNAPSHOT)
    made = store.create(make_domain(tmp_path), activate=False)

    def refuse(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "replace", refuse)
    with pytest.raises(StoreError, match="No space"):
        store.activate("support", made.number, OPS)
    monkeypatch.undo()
    entry = store.audit("support").read()[0][-1]
    assert (entry.action, entry.old, entry.new, entry.who) == ("failed", 1, 2, OPS.who)
    assert "No space" in entry.why
    live = store.live("support")
    assert live is not None
    assert live.number == 1


@pytest.mark.parametrize("half", [b'{"at": "2026', b"\xff\xfe", b"{}\n[1]\n", b"\n\n"])
def test_half_a_line_spoils_no_other(store: ReleaseStore, tmp_path: Path, half: bytes) -> None:
    store.create(make_domain(tmp_path), snapshot=SNAPSHOT)
    path = store.audit("support").path
    path.write_bytes(path.read_bytes() + half)
    store.create(make_domain(tmp_path))
    entries, broken = store.audit("support").read()
    assert [entry.action for entry in entries] == ["create", "activate"] * 2
    assert broken == len([line for line in half.split(b"\n") if line])


WRITER = """
import sys
from pathlib import Path
from adapters.audit import Cause
from adapters.release import ReleaseStore
from indexer.domain import Domain
from indexer.settings import Paths
store = ReleaseStore(Paths(Path(sys.argv[1])))
domain = Domain(name="support", folder=Path(sys.argv[1]))
number = 0
while True:
    number = store.create(domain, snapshot="aaaa", cause=Cause("writer", "x" * 500)).number
    print(number, flush=True)
"""


def test_a_killed_writer_loses_no_change_that_it_has_made(
    store: ReleaseStore, paths: Paths, tmp_path: Path
) -> None:
    for _ in range(3):
        writer = subprocess.Popen(
            [sys.executable, "-c", WRITER, str(paths.root)], stdout=subprocess.PIPE
        )
        assert writer.stdout is not None
        for _ in range(4):
            writer.stdout.readline()
        writer.kill()
        writer.communicate()
    store.create(make_domain(tmp_path))  # after whatever was left
    created = {entry.new for entry in store.audit("support").read()[0] if entry.action == "create"}
    assert set(store.numbers("support")) <= created
    answered = [e for e in store.audit("support").read()[0] if e.action == "activate"]
    live = store.live("support")
    assert live is not None
    assert answered[-1].new == live.number


def test_a_domain_without_changes_has_an_empty_audit(paths: Paths) -> None:
    assert Audit(paths, "support").read() == ([], 0)
