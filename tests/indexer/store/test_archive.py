"""A snapshot goes out as one file and comes in again the same, or not at all."""

import errno
import hashlib
import io
import json
import os
import shutil
import subprocess
import sys
import tarfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from indexer.errors import BadInput, StoreError
from indexer.settings import Paths
from indexer.store.archive import export_snapshot, import_snapshot
from indexer.store.leases import sole
from indexer.store.snapshot import write_snapshot
from tests.indexer.conftest import ROOT
from tests.indexer.store.test_snapshot import _content, _files

Members = dict[str, bytes]


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a store that has one snapshot, and with that snapshot as a file."""
    folder = tmp_path_factory.mktemp("source")
    paths = Paths(folder / "store")
    made = paths.snapshot("kitchen", write_snapshot(paths, _content()))
    export_snapshot(made, folder / "s.tar")
    return folder


@pytest.fixture
def snapshot(source: Path, paths: Paths) -> Path:
    shutil.copytree(source / "store", paths.root)
    [found] = paths.snapshots("kitchen").iterdir()
    return found


@pytest.fixture
def exported(source: Path, tmp_path: Path) -> Path:
    return Path(shutil.copy(source / "s.tar", tmp_path))


@pytest.fixture
def other(tmp_path: Path) -> Iterator[Paths]:
    """A store that must hold nothing but whole snapshots, whatever was tried."""
    found = Paths(tmp_path / "other")
    yield found
    home = found.snapshots("kitchen")
    for name in os.listdir(home) if home.exists() else []:
        assert not name.startswith(".")


def _members(file: Path) -> Members:
    with tarfile.open(file) as tar:
        return {m.name: tar.extractfile(m).read() for m in tar}  # type: ignore[union-attr]


def _write(file: Path, members: Members, *more: tarfile.TarInfo) -> Path:
    with tarfile.open(file, "w") as tar:
        for name, content in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
        for info in more:
            tar.addfile(info)
    return file


def _with_manifest(members: Members, **changes: Any) -> Members:
    manifest = json.loads(members["manifest.json"]) | changes
    return {**members, "manifest.json": json.dumps(manifest).encode()}


def test_it_comes_in_as_it_went_out(snapshot: Path, exported: Path, other: Paths) -> None:
    assert import_snapshot(other, "kitchen", exported) == snapshot.name
    taken = other.snapshot("kitchen", snapshot.name)
    assert _files(taken) == _files(snapshot)
    assert taken.stat().st_mode & 0o777 == 0o755


def test_the_same_snapshot_gives_the_same_file(
    snapshot: Path, exported: Path, other: Paths, tmp_path: Path
) -> None:
    import_snapshot(other, "kitchen", exported)
    again = tmp_path / "again.tar"
    export_snapshot(other.snapshot("kitchen", snapshot.name), again)
    assert again.read_bytes() == exported.read_bytes()
    assert next(iter(_members(again))) == "manifest.json"


def test_importing_what_is_there_changes_nothing(snapshot: Path, exported: Path) -> None:
    paths = Paths(snapshot.parents[3])
    before = (snapshot / "records.db").stat().st_ino
    assert import_snapshot(paths, "kitchen", exported) == snapshot.name
    assert (snapshot / "records.db").stat().st_ino == before
    assert os.listdir(snapshot.parent) == [snapshot.name]


def test_a_damaged_snapshot_is_not_exported(snapshot: Path, tmp_path: Path) -> None:
    content = bytearray((snapshot / "records.db").read_bytes())
    content[-1] ^= 1
    (snapshot / "records.db").write_bytes(content)
    with pytest.raises(StoreError, match=r"records\.db is not what was written"):
        export_snapshot(snapshot, tmp_path / "s.tar")
    assert not list(tmp_path.glob("*s.tar*"))


def test_a_snapshot_is_in_use_while_it_is_exported(
    snapshot: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def seen(*_: object) -> str:
        with sole(snapshot) as alone:
            assert not alone
        raise KeyboardInterrupt

    monkeypatch.setattr("indexer.store.archive._add", seen)
    with pytest.raises(KeyboardInterrupt):
        export_snapshot(snapshot, tmp_path / "s.tar")
    with sole(snapshot) as alone:
        assert alone


def test_a_folder_that_is_not_there_is_named(snapshot: Path, tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="nowhere"):
        export_snapshot(snapshot, tmp_path / "nowhere" / "s.tar")
    with pytest.raises(BadInput, match=r"no file .*s\.tar"):
        import_snapshot(Paths(tmp_path), "kitchen", tmp_path / "s.tar")


def _escape(members: Members) -> Members:
    files = json.loads(members["manifest.json"])["files"]
    mark = {"sha256": hashlib.sha256(b"x").hexdigest(), "bytes": 1}
    return {**_with_manifest(members, files={**files, "../x": mark}), "../x": b"x"}


def _absolute(members: Members) -> Members:
    return {**members, "/elsewhere/x": b"x"}


def _unlisted(members: Members) -> Members:
    return {**members, "more.txt": b"x"}


def _lacking(members: Members) -> Members:
    return {name: content for name, content in members.items() if name != "records.db"}


def _swapped(members: Members) -> Members:
    size = len(members["records.db"])
    return {**members, "records.db": bytes(size)}


def _longer(members: Members) -> Members:
    return {**members, "records.db": members["records.db"] + b"x"}


def _no_manifest(members: Members) -> Members:
    return dict(reversed(members.items()))


def _other_format(members: Members) -> Members:
    return _with_manifest(members, format=99)


def _other_domain(members: Members) -> Members:
    return _with_manifest(members, domain="garden")


def _strange(members: Members) -> Members:
    return _with_manifest(members, chunks="many")


def _not_json(members: Members) -> Members:
    return {**members, "manifest.json": b"\xff{"}


def _deep(members: Members) -> Members:
    return {**members, "manifest.json": b'{"format": ' + 100_000 * b"[" + 100_000 * b"]" + b"}"}


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (_escape, "names files outside a snapshot"),
        (_absolute, "'/elsewhere/x', which is no plain file in a snapshot"),
        (_unlisted, "'more.txt', which its manifest does not list"),
        (_lacking, "lacks 'records.db'"),
        (_swapped, "'records.db' with another content"),
        (_longer, "'records.db' with "),
        (_no_manifest, "does not begin with a manifest.json"),
        (_other_format, "has format 99, this program reads"),
        (_other_domain, "holds a snapshot of 'garden', not of 'kitchen'"),
        (_strange, "has a manifest that is none"),
        (_not_json, "cannot be read"),
        (_deep, "cannot be read"),
    ],
)
def test_a_file_that_is_not_what_it_says_is_refused(
    change: Callable[[Members], Members], said: str, exported: Path, other: Paths
) -> None:
    _write(exported, change(_members(exported)))
    with pytest.raises(BadInput) as caught:
        import_snapshot(other, "kitchen", exported)
    assert said in str(caught.value)
    assert os.listdir(other.snapshots("kitchen")) == []


@pytest.mark.parametrize(
    "kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.DIRTYPE, tarfile.FIFOTYPE, tarfile.CHRTYPE]
)
def test_nothing_but_plain_files_is_taken_in(kind: bytes, exported: Path, other: Paths) -> None:
    info = tarfile.TarInfo("records.db")
    info.type, info.linkname = kind, "/etc/hostname"
    members = _members(exported)
    first = {"manifest.json": members["manifest.json"]}
    with pytest.raises(BadInput, match=r"'records\.db', which is no plain file"):
        import_snapshot(other, "kitchen", _write(exported, first, info))


def test_a_sound_archive_of_a_snapshot_that_cannot_be_searched_is_refused(
    exported: Path, other: Paths
) -> None:
    members = _members(exported)
    broken = b"\1" * len(members["passages.faiss"])
    files = json.loads(members["manifest.json"])["files"]
    files["passages.faiss"]["sha256"] = hashlib.sha256(broken).hexdigest()
    members = _with_manifest({**members, "passages.faiss": broken}, files=files)
    with pytest.raises(StoreError):
        import_snapshot(other, "kitchen", _write(exported, members))
    assert os.listdir(other.snapshots("kitchen")) == []


@pytest.mark.parametrize("share", [0.0, 0.3, 0.7])
def test_a_file_that_is_cut_short_is_refused(exported: Path, other: Paths, share: float) -> None:
    content = exported.read_bytes()
    exported.write_bytes(content[: int(len(content) * share)])
    with pytest.raises((BadInput, StoreError)):
        import_snapshot(other, "kitchen", exported)
    assert os.listdir(other.snapshots("kitchen")) == []


def test_a_snapshot_that_does_not_fit_is_refused_before_it_is_unpacked(
    exported: Path, other: Paths, monkeypatch: pytest.MonkeyPatch
) -> None:
    members = _members(exported)
    files = json.loads(members["manifest.json"])["files"]
    files["records.db"]["bytes"] = 1 << 60
    with pytest.raises(StoreError, match=r"takes 1,15\d,.* bytes, and .* free"):
        import_snapshot(other, "kitchen", _write(exported, _with_manifest(members, files=files)))


def test_a_killed_import_leaves_nothing_that_can_be_seen(exported: Path, tmp_path: Path) -> None:
    paths = Paths(tmp_path / "third")
    program = (
        "import sys, time; from pathlib import Path; from indexer.settings import Paths;"
        "from indexer.store import archive;"
        "archive.verify_snapshot = lambda path: (print('unpacked', flush=True), time.sleep(60));"
        "archive.import_snapshot(Paths(Path(sys.argv[1])), 'kitchen', Path(sys.argv[2]))"
    )
    command = [sys.executable, "-c", program, str(paths.root), str(exported)]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as child:
        assert child.stdout is not None
        assert child.stdout.readline() == "unpacked\n"
        child.kill()
    left = os.listdir(paths.snapshots("kitchen"))
    assert left
    assert all(name.startswith(".draft-") for name in left)
    snapshot_id = import_snapshot(paths, "kitchen", exported)
    assert paths.snapshot("kitchen", snapshot_id).is_dir()


def test_a_full_disk_is_said_and_leaves_nothing(
    snapshot: Path, exported: Path, other: Paths, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr("indexer.store.archive.os.fsync", full)
    with pytest.raises(StoreError, match="Free some disk space"):
        export_snapshot(snapshot, tmp_path / "full.tar")
    with pytest.raises(StoreError, match="Free some disk space"):
        import_snapshot(other, "kitchen", exported)
    assert not list(tmp_path.glob("*full.tar*"))
    assert os.listdir(other.snapshots("kitchen")) == []
