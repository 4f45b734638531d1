"""A store goes into one file while it is used, and comes back whole or not at all."""

import contextlib
import errno
import hashlib
import json
import os
import shutil
import signal
import sqlite3
import subprocess
import sys
import tarfile
from datetime import UTC, datetime
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any

import pytest

from adapters.backup.contents import gathered, is_wanted
from adapters.backup.restoring import finish, restore, unfinished
from adapters.backup.writing import back_up, target_of
from adapters.base import BaseProfile
from adapters.lease import unused
from adapters.manifest import MANIFEST_FILE
from adapters.registry import AdapterRegistry
from adapters.release import ReleaseStore
from adapters.versioning import check_store
from indexer.domain import load_domain
from indexer.errors import BadInput, StoreError
from indexer.job.lock import locked
from indexer.settings import Paths
from indexer.store.snapshot import write_snapshot
from indexer.store.verify import verify_snapshot
from tests.indexer.store.test_snapshot import _content

if TYPE_CHECKING:
    from tests.adapters.conftest import WriteAdapter

ROOT = Path(__file__).resolve().parents[3]
NOT_KEPT = ("logs/engine.log", "training/run/state", "domains/kitchen/index.lock", "keys.lock")


def silent(_: int) -> None:
    """Nobody watches."""


def files(root: Path) -> dict[str, bytes]:
    """What a backup is to keep, and what it holds; a database by its rows."""
    found = {}
    for path in root.rglob("*"):
        name = PurePosixPath(path.relative_to(root))
        if path.is_file() and is_wanted(name) and name.name != "VERSION":
            found[str(name)] = rows(path) if path.name == "catalog.db" else path.read_bytes()
    return found


def rows(path: Path) -> bytes:
    with contextlib.closing(sqlite3.connect(path)) as db:
        return repr(db.execute("SELECT * FROM notes ORDER BY 1").fetchall()).encode()


@pytest.fixture(scope="module")
def indexed(tmp_path_factory: pytest.TempPathFactory) -> Paths:
    """A store with a snapshot that can be searched."""
    paths = Paths(tmp_path_factory.mktemp("indexed") / "store")
    write_snapshot(paths, _content())
    return paths


@pytest.fixture
def store(
    indexed: Paths, paths: Paths, base: BaseProfile, write_adapter: "WriteAdapter", tmp_path: Path
) -> Paths:
    """Everything that a store can hold: a release with an adapter, a catalog, uploads, keys."""
    shutil.copytree(indexed.root, paths.root)
    [snapshot] = os.listdir(paths.snapshots("kitchen"))
    home = tmp_path / "domains" / "kitchen"
    home.mkdir(parents=True)
    (home / "domain.toml").write_text('[embedder]\nname = "hash"\n', encoding="utf-8")
    registry = AdapterRegistry(paths)
    adapter = registry.add(write_adapter(), "style", base=base, prompt_format="sentences")
    domain = load_domain(home)
    prompt = domain.answer.model_copy(update={"prompt_format": "sentences"})
    domain = domain.model_copy(update={"answer": prompt})
    ReleaseStore(paths).create(domain, snapshot=snapshot, adapter=adapter)
    ReleaseStore(paths).create(domain, snapshot=snapshot, adapter=None)
    with contextlib.closing(sqlite3.connect(paths.catalog("kitchen"))) as db:
        db.executescript("PRAGMA journal_mode = WAL; CREATE TABLE notes (n); BEGIN;")
        db.executemany("INSERT INTO notes VALUES (?)", [(n,) for n in range(500)])
        db.commit()
    for name in (*NOT_KEPT, "domains/kitchen/uploads/a/index.lock", "jobs/job-1.json", "keys.json"):
        (paths.root / name).parent.mkdir(parents=True, exist_ok=True)
        (paths.root / name).write_text(name, encoding="utf-8")
    paths.tombstones("kitchen").write_text("{}", encoding="utf-8")
    return paths


@pytest.fixture
def archive(store: Paths, tmp_path: Path) -> Path:
    back_up(store, tmp_path / "store.tar", silent)
    return tmp_path / "store.tar"


@pytest.fixture
def other(tmp_path: Path) -> Paths:
    return Paths(tmp_path / "other")


def test_a_restored_store_holds_what_was_there_and_answers(
    store: Paths, archive: Path, other: Paths
) -> None:
    record = restore(other, archive, silent)
    kept = files(store.root)
    assert files(other.root) == kept
    assert set(record.files) == set(kept)
    assert not any((other.root / name).exists() for name in NOT_KEPT)
    live = ReleaseStore(other).live("kitchen")
    assert live is not None
    assert live.number == 2
    assert ReleaseStore(other).previous("kitchen").adapter is not None
    verify_snapshot(other.snapshot("kitchen", live.snapshot))
    check_store(other.root)


def test_keys_are_their_owners_alone_in_the_archive_and_after_it(
    archive: Path, other: Paths
) -> None:
    restore(other, archive, silent)
    assert archive.stat().st_mode & 0o077 == 0
    assert (other.root / "keys.json").stat().st_mode & 0o077 == 0


def test_a_catalog_that_is_written_meanwhile_is_copied_in_one_consistent_state(
    store: Paths, other: Paths, tmp_path: Path
) -> None:
    before = rows(store.catalog("kitchen"))
    with contextlib.closing(sqlite3.connect(store.catalog("kitchen"))) as db:
        db.execute("BEGIN IMMEDIATE")
        db.execute("DELETE FROM notes")
        with locked(store.domain("kitchen")):  # as an index job holds it
            back_up(store, tmp_path / "busy.tar", silent)
        db.rollback()
    restore(other, tmp_path / "busy.tar", silent)
    assert rows(other.catalog("kitchen")) == before


def test_what_is_being_copied_cannot_be_removed_and_can_afterwards(store: Paths) -> None:
    adapter = AdapterRegistry(store).list()[0]
    manifest = store.adapter(adapter.digest) / MANIFEST_FILE
    with gathered(store):
        with unused(manifest) as free:
            assert not free
    with unused(manifest) as free:
        assert free


def test_a_release_made_while_files_are_copied_is_not_half_in_the_backup(
    store: Paths, other: Paths, tmp_path: Path
) -> None:
    made: list[int] = []

    def release_once(_: int) -> None:
        if not made:
            made.append(ReleaseStore(store).rollback("kitchen").number)

    back_up(store, tmp_path / "meanwhile.tar", release_once)
    restore(other, tmp_path / "meanwhile.tar", silent)
    found = ReleaseStore(other)
    assert made == [1]
    assert found.pointer("kitchen").number() == 2
    assert [entry.new for entry in found.audit("kitchen").read()[0]][-1] == 2


def test_a_document_that_is_deleted_meanwhile_does_not_come_back(
    store: Paths, other: Paths, tmp_path: Path
) -> None:
    upload = store.uploads("kitchen") / "a" / "index.lock"

    def delete_once(_: int) -> None:
        if copied and upload.exists():
            upload.unlink()
            note = {"uploads/a/index.lock": {"at": 2**62, "documents": {}}}
            store.tombstones("kitchen").write_text(json.dumps(note), encoding="utf-8")

    copied: list[bool] = []
    seen = Path.open

    def watching(path: Path, *given: Any, **named: Any) -> object:
        if path == upload:
            copied.append(True)
        return seen(path, *given, **named)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Path, "open", watching)
        record = back_up(store, tmp_path / "deleted.tar", delete_once)
    restore(other, tmp_path / "deleted.tar", silent)
    assert record.dropped == ("domains/kitchen/uploads/a/index.lock",)
    assert not (other.uploads("kitchen") / "a" / "index.lock").exists()


def test_a_damaged_file_is_named_and_kept_as_it_is(store: Paths, tmp_path: Path) -> None:
    adapter = AdapterRegistry(store).list()[0]
    weights = store.adapter(adapter.digest) / "adapter_model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1] + b"?")
    record = back_up(store, tmp_path / "damaged.tar", silent)
    assert record.damaged == (f"adapters/{adapter.digest}/adapter_model.safetensors",)


def test_a_store_that_is_there_is_not_written_over(store: Paths, archive: Path) -> None:
    before = files(store.root)
    with pytest.raises(BadInput, match="holds a store"):
        restore(store, archive, silent)
    assert files(store.root) == before


def test_a_store_that_is_replaced_is_put_aside_whole(store: Paths, archive: Path) -> None:
    (store.root / "keys.json").write_text("newer", encoding="utf-8")
    restore(store, archive, silent, replace=True)
    [aside] = store.root.glob(".replaced-*")
    assert (store.root / "keys.json").read_text("utf-8") == "keys.json"
    assert (aside / "keys.json").read_text("utf-8") == "newer"
    assert (aside / "domains" / "kitchen" / "LIVE").exists()


@pytest.mark.parametrize("kept", ["adapters/.services/x", "domains/kitchen/index.lock"])
def test_a_store_in_use_is_not_replaced(store: Paths, archive: Path, kept: str) -> None:
    import fcntl

    path = store.root / kept
    path.parent.mkdir(exist_ok=True)
    with path.open("ab") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        with pytest.raises(StoreError, match="A service or a job uses"):
            restore(store, archive, silent, replace=True)


@pytest.mark.parametrize("share", [0.0, 0.05, 0.4, 0.8, 0.95, 0.995])
def test_an_archive_that_was_cut_short_is_refused_and_leaves_nothing(
    archive: Path, other: Paths, share: float
) -> None:
    content = archive.read_bytes().rstrip(b"\0")
    archive.write_bytes(content[: int(len(content) * share)])
    with pytest.raises(BadInput, match="is no backup that can be restored"):
        restore(other, archive, silent)
    assert [name for name in os.listdir(other.root) if name != ".restore.lock"] == []


def test_a_changed_byte_is_noticed_wherever_it_is(archive: Path, other: Paths) -> None:
    content = bytearray(archive.read_bytes())
    with tarfile.open(archive) as tar:
        members = [one for one in tar if one.size]
    for member in (*members[:2], members[len(members) // 2], *members[-2:]):
        place = member.offset_data + member.size // 2
        content[place] ^= 1
        archive.write_bytes(content)
        with pytest.raises(BadInput, match="backup"):
            restore(other, archive, silent)
        content[place] ^= 1
    archive.write_bytes(content)
    restore(other, archive, silent)


@pytest.mark.parametrize(
    "name", ["store/../../evil", "/etc/evil", "store/.bashrc", "evil", "store/", "store/a/../b"]
)
def test_a_member_that_is_no_file_of_a_store_is_refused(
    tmp_path: Path, other: Paths, name: str
) -> None:
    with tarfile.open(tmp_path / "evil.tar", "w") as tar:
        opening = tmp_path / "opening"
        opening.write_text('{"format": 1, "store": 1}', encoding="utf-8")
        tar.add(opening, "DSLM-BACKUP")
        info = tarfile.TarInfo(name)
        tar.addfile(info)
        info.name, info.type, info.linkname = "store/link", tarfile.SYMTYPE, "/etc"
        tar.addfile(info)
    with pytest.raises(BadInput, match="no file of a store"):
        restore(other, tmp_path / "evil.tar", silent)
    assert not (other.root.parent / "evil").exists()


def test_a_backup_of_a_newer_program_is_refused_at_once(tmp_path: Path, other: Paths) -> None:
    opening = tmp_path / "opening"
    opening.write_text('{"format": 1, "store": 99}', encoding="utf-8")
    with tarfile.open(tmp_path / "newer.tar", "w") as tar:
        tar.add(opening, "DSLM-BACKUP")
    with pytest.raises(BadInput, match=r"made by a newer program .*store 99"):
        restore(other, tmp_path / "newer.tar", silent)


def test_a_full_disk_is_said_and_leaves_nothing(
    store: Paths, archive: Path, other: Paths, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr("adapters.backup.writing.os.fsync", full)
    with pytest.raises(StoreError, match="Free some disk space"):
        back_up(store, tmp_path / "full.tar", silent)
    with pytest.raises(StoreError, match="Free some disk space"):
        restore(other, archive, silent)
    assert not list(tmp_path.glob("*full.tar*"))
    assert not (other.root / ".restoring").exists()


def test_a_backup_never_takes_the_place_of_another_file(store: Paths, archive: Path) -> None:
    now = datetime(2026, 11, 21, 12, 0, 0, tzinfo=UTC)
    with pytest.raises(BadInput, match="is there already"):
        target_of(archive, now)
    with pytest.raises(BadInput, match="does not exist"):
        target_of(archive.parent / "no" / "x.tar", now)
    assert target_of(archive.parent, now) == archive.parent / "dslm-20261121-120000.tar"
    with pytest.raises(StoreError):
        back_up(store, archive, silent)


KILLED_AT = """
import os, signal, sys
from pathlib import Path, PurePosixPath
from indexer.settings import Paths

def killing(real, times):
    left = [times]
    def call(*given, **named):
        if left[0] == 0:
            os.kill(os.getpid(), signal.SIGKILL)
        left[0] -= 1
        return real(*given, **named)
    return call

what, store, file = sys.argv[1], Paths(Path(sys.argv[2])), Path(sys.argv[3])
times = int(sys.argv[4])
if what == "backup":
    import tarfile
    tarfile.TarFile.addfile = killing(tarfile.TarFile.addfile, times)
    from adapters.backup.writing import back_up
    back_up(store, file, lambda _: None)
else:
    from adapters.backup import restoring
    if what == "unpacking":
        restoring._extract = killing(restoring._extract, times)
    else:
        os.rename = killing(os.rename, times)
    restoring.restore(store, file, lambda _: None, replace=True)
"""


def kill(what: str, store: Paths, file: Path, times: int) -> int:
    """Run it in a process that is killed at the call of that number."""
    words = [sys.executable, "-c", KILLED_AT, what, str(store.root), str(file), str(times)]
    return subprocess.run(words, cwd=ROOT, check=False).returncode


def test_a_killed_backup_leaves_no_archive_and_the_next_one_is_whole(
    store: Paths, other: Paths, tmp_path: Path
) -> None:
    file = tmp_path / "killed.tar"
    assert kill("backup", store, file, 6) == -signal.SIGKILL
    assert not file.exists()
    back_up(store, file, silent)
    restore(other, file, silent)
    assert files(other.root) == files(store.root)
    assert not list(tmp_path.glob(".*"))


def test_a_restore_killed_while_unpacking_changes_nothing_and_begins_anew(
    store: Paths, archive: Path, other: Paths
) -> None:
    assert kill("unpacking", other, archive, 4) == -signal.SIGKILL
    with pytest.raises(StoreError, match="has not ended"):
        check_store(other.root)
    assert not unfinished(other)
    restore(other, archive, silent)
    assert files(other.root) == files(store.root)


@pytest.mark.parametrize("times", [0, 4, 8, 10])
def test_a_restore_killed_between_its_renames_is_ended_by_the_next(
    store: Paths, archive: Path, times: int
) -> None:
    wanted = files(store.root)
    (store.root / "keys.json").write_text("newer", encoding="utf-8")
    assert kill("renaming", store, archive, times) == -signal.SIGKILL
    with pytest.raises(StoreError, match="has not ended"):
        check_store(store.root)
    finish(store)
    assert files(store.root) == wanted
    [aside] = store.root.glob(".replaced-*")
    assert (aside / "keys.json").read_text("utf-8") == "newer"
    check_store(store.root)


def test_the_archives_digests_are_sha256_of_what_lies_in_the_store(
    store: Paths, archive: Path
) -> None:
    with tarfile.open(archive) as tar:
        names = tar.getnames()
        last = tar.extractfile(names[-1])
        assert last is not None
        content = last.read()
    assert names[0] == "DSLM-BACKUP"
    assert names[-1] == f"BACKUP-{hashlib.sha256(content).hexdigest()}.json"
    told = json.loads(content)["files"]["keys.json"]["sha256"]
    assert told == hashlib.sha256(b"keys.json").hexdigest()
