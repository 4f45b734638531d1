"""A release goes through an object store whole, or is not seen on the other side at all."""

import contextlib
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.request
import uuid
from collections.abc import Callable, Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from typer.testing import CliRunner

from adapters.base import BaseProfile
from adapters.manifest import AdapterManifest
from adapters.registry import AdapterRegistry
from adapters.release import Release, ReleaseStore
from adapters.remote.following import keep_moving
from adapters.remote.objects import Objects
from adapters.remote.pointer import LINE, read_pointer, sha256
from adapters.remote.pulling import pull
from adapters.remote.pushing import push
from dslm import app
from indexer.domain import Domain, load_domain
from indexer.errors import BadInput, NotFound, StoreError
from indexer.job.lock import locked
from indexer.settings import Paths
from indexer.store.snapshot import write_snapshot
from indexer.store.verify import verify_snapshot
from tests.indexer.store.test_snapshot import _content

if TYPE_CHECKING:
    from tests.adapters.conftest import WriteAdapter

ROOT = Path(__file__).resolve().parents[3]
KITCHEN = "kitchen"


def silent(_: int) -> None:
    """Nobody watches."""


class Maker:
    """The store that makes the releases."""

    def __init__(self, paths: Paths, domain: Domain, add: Callable[[], AdapterManifest]) -> None:
        self.paths, self.domain, self.add = paths, domain, add
        self.releases = ReleaseStore(paths)

    def release(self, *, with_adapter: bool = True) -> Release:
        [snapshot] = [one.name for one in self.paths.snapshots(KITCHEN).glob("[!.]*")]
        adapter = self.add() if with_adapter else None
        return self.releases.create(self.domain, snapshot=snapshot, adapter=adapter)


@pytest.fixture(scope="module")
def indexed(tmp_path_factory: pytest.TempPathFactory) -> Paths:
    """A store with a snapshot that can be searched."""
    paths = Paths(tmp_path_factory.mktemp("indexed") / "store")
    write_snapshot(paths, _content())
    return paths


@pytest.fixture
def domains(tmp_path: Path) -> Path:
    home = tmp_path / "domains" / KITCHEN
    (home / "documents").mkdir(parents=True)
    toml = '[embedder]\nname = "hash"\n[answer]\nprompt_format = "sentences"\n'
    (home / "domain.toml").write_text(toml, encoding="utf-8")
    return home.parent


@pytest.fixture
def maker(
    indexed: Paths, paths: Paths, domains: Path, base: BaseProfile, write_adapter: "WriteAdapter"
) -> Maker:
    shutil.copytree(indexed.root, paths.root)
    count = iter(range(1, 99))

    def add() -> AdapterManifest:
        folder = write_adapter(name=f"adapter-{next(count)}", lora_alpha=next(count) + 8)
        return AdapterRegistry(paths).add(folder, "style", base=base, prompt_format="sentences")

    return Maker(paths, load_domain(domains / KITCHEN), add)


@pytest.fixture
def other(tmp_path: Path) -> Paths:
    return Paths(tmp_path / "other")


@pytest.fixture(params=["file", "memory"])
def objects(request: pytest.FixtureRequest, tmp_path: Path) -> Objects:
    if request.param == "memory":
        return Objects(f"memory://{uuid.uuid4().hex}")
    return Objects(f"file://{tmp_path / 'bucket'}")


@pytest.fixture
def bucket(tmp_path: Path) -> Path:
    return tmp_path / "bucket"


@pytest.fixture
def folder(bucket: Path) -> Objects:
    return Objects(f"file://{bucket}")


def contents(root: Path) -> dict[str, bytes]:
    return {str(p.relative_to(root)): p.read_bytes() for p in root.rglob("*") if p.is_file()}


def test_what_was_pushed_answers_elsewhere_with_the_same_bytes(
    maker: Maker, other: Paths, objects: Objects
) -> None:
    made = maker.release()
    push(maker.paths, objects, KITCHEN, silent)
    pull(other, objects, KITCHEN, silent)
    assert made.adapter is not None
    assert ReleaseStore(other).live(KITCHEN) == made
    verify_snapshot(other.snapshot(KITCHEN, made.snapshot))
    for place in (Paths.snapshots, Paths.releases):
        assert contents(place(other, KITCHEN)) == contents(place(maker.paths, KITCHEN))
    adapter = AdapterRegistry(other).get("style@1")
    assert contents(other.adapter(adapter.digest)) == contents(maker.paths.adapter(adapter.digest))
    [entry] = ReleaseStore(other).audit(KITCHEN).read()[0]
    assert (entry.action, entry.who) == ("activate", f"follow:{objects.url}")


def test_a_rollback_is_followed_like_a_release_and_sends_nothing_again(
    maker: Maker, other: Paths, objects: Objects
) -> None:
    maker.release()
    for _ in range(2):
        push(maker.paths, objects, KITCHEN, silent)
        pull(other, objects, KITCHEN, silent)
        maker.release()
    maker.releases.rollback(KITCHEN)
    maker.releases.rollback(KITCHEN)
    sent: list[int] = []
    assert push(maker.paths, objects, KITCHEN, sent.append).release == 1
    pull(other, objects, KITCHEN, sent.append)
    assert sent == []
    assert ReleaseStore(other).pointer(KITCHEN).number() == 1


def test_a_version_whose_elders_were_never_pushed_keeps_its_number(
    maker: Maker, other: Paths, objects: Objects
) -> None:
    for _ in range(3):
        maker.release()
    push(maker.paths, objects, KITCHEN, silent)
    pull(other, objects, KITCHEN, silent)
    registry = AdapterRegistry(other)
    assert [one.label for one in registry.list()] == ["style@3"]
    assert registry.get("style").version == 3
    with pytest.raises(NotFound, match="files of style@1 were removed"):
        registry.get("style@1")
    maker.releases.activate(KITCHEN, 1)
    push(maker.paths, objects, KITCHEN, silent)
    pull(other, objects, KITCHEN, silent)
    assert [one.label for one in registry.list()] == ["style@1", "style@3"]


def test_pulling_again_does_nothing(maker: Maker, other: Paths, objects: Objects) -> None:
    maker.release()
    push(maker.paths, objects, KITCHEN, silent)
    pull(other, objects, KITCHEN, silent)
    before = contents(other.root)
    pull(other, objects, KITCHEN, silent)
    assert contents(other.root) == before


def _digest(maker: Maker) -> str:
    return AdapterRegistry(maker.paths).get("style").digest


def test_every_changed_object_is_noticed_and_live_stays(
    maker: Maker, other: Paths, folder: Objects, bucket: Path, tmp_path: Path
) -> None:
    fresh = Paths(tmp_path / "fresh")
    first = maker.release(with_adapter=False)
    push(maker.paths, folder, KITCHEN, silent)
    pull(other, folder, KITCHEN, silent)
    shutil.rmtree(other.snapshot(KITCHEN, first.snapshot))
    maker.release()
    push(maker.paths, folder, KITCHEN, silent)
    unread = (f"releases/{KITCHEN}/1.json", f"adapters/{_digest(maker)}/manifest.json")
    changed = [name for name in contents(bucket) if name not in unread]
    shutil.copytree(other.root, fresh.root)
    for name in changed:
        shutil.rmtree(other.root)
        shutil.copytree(fresh.root, other.root)
        path = bucket / name
        whole = path.read_bytes()
        place = len(whole) // 2
        path.write_bytes(whole[:place] + bytes([whole[place] ^ 1]) + whole[place + 1 :])
        with pytest.raises(StoreError):
            pull(other, folder, KITCHEN, silent)
        path.write_bytes(whole)
        assert ReleaseStore(other).numbers(KITCHEN) == [1], name
        assert ReleaseStore(other).pointer(KITCHEN).number() == 1
    assert len(changed) > 8
    pull(other, folder, KITCHEN, silent)
    assert ReleaseStore(other).pointer(KITCHEN).number() == 2


def test_the_pointer_is_written_after_all_that_it_names(
    maker: Maker, objects: Objects, monkeypatch: pytest.MonkeyPatch
) -> None:
    order: list[str] = []
    write, upload = Objects.write, Objects.upload

    def writing(self: Objects, name: str, content: bytes) -> None:
        order.append(name)
        write(self, name, content)

    def uploading(self: Objects, file: Path, name: str, tell: Callable[[int], None]) -> None:
        order.append(name)
        upload(self, file, name, tell)

    monkeypatch.setattr(Objects, "write", writing)
    monkeypatch.setattr(Objects, "upload", uploading)
    made = maker.release()
    push(maker.paths, objects, KITCHEN, silent)
    home = f"snapshots/{KITCHEN}/{made.snapshot}"
    assert order[-2:] == [f"releases/{KITCHEN}/1.json", f"live/{KITCHEN}.json"]
    assert max(i for i, name in enumerate(order) if name.startswith(home)) == order.index(
        f"{home}/manifest.json"
    )


KILLED = """
import os, signal, sys
from pathlib import Path
from adapters.remote.objects import Objects
from adapters.remote.pulling import pull
from indexer.settings import Paths

bytes_left = [int(sys.argv[3])]
def tell(count):
    bytes_left[0] -= count
    if bytes_left[0] < 0:
        os.kill(os.getpid(), signal.SIGKILL)
pull(Paths(Path(sys.argv[1])), Objects(sys.argv[2]), "kitchen", tell)
"""


def kill_pull(store: Paths, objects: Objects, after: int) -> int:
    """Pull in a process that is killed after so many bytes."""
    words = [sys.executable, "-c", KILLED, str(store.root), objects.url, str(after)]
    return subprocess.run(words, cwd=ROOT, check=False).returncode


@pytest.mark.parametrize("share", [0.0, 0.3, 0.9])
def test_a_store_killed_in_a_download_serves_none_of_it_and_goes_on_where_it_was(
    maker: Maker, other: Paths, folder: Objects, share: float
) -> None:
    made = maker.release()
    sent: list[int] = []
    push(maker.paths, folder, KITCHEN, sent.append)
    assert kill_pull(other, folder, int(sum(sent) * share)) == -signal.SIGKILL
    assert ReleaseStore(other).live(KITCHEN) is None
    assert ReleaseStore(other).numbers(KITCHEN) == []
    assert not other.snapshot(KITCHEN, made.snapshot).exists()
    again: list[int] = []
    pull(other, folder, KITCHEN, again.append)
    assert ReleaseStore(other).live(KITCHEN) == made
    verify_snapshot(other.snapshot(KITCHEN, made.snapshot))
    assert sum(again) < sum(sent) or share == 0.0


def test_what_a_killed_download_left_half_written_is_loaded_again(
    maker: Maker, other: Paths, folder: Objects
) -> None:
    made = maker.release()
    push(maker.paths, folder, KITCHEN, silent)
    draft = other.snapshots(KITCHEN) / f".draft-pull-{made.snapshot}"
    draft.mkdir(parents=True)
    (draft / "records.db").write_bytes(b"half")
    (draft / ".bm25.part").write_bytes(b"half")
    pull(other, folder, KITCHEN, silent)
    assert contents(other.snapshots(KITCHEN)) == contents(maker.paths.snapshots(KITCHEN))


def test_two_stores_that_both_make_releases_are_told_apart(
    maker: Maker, other: Paths, objects: Objects
) -> None:
    made = maker.release(with_adapter=False)
    push(maker.paths, objects, KITCHEN, silent)
    shutil.copytree(maker.paths.root, other.root)
    file = ReleaseStore(other).file(KITCHEN, made.number)
    file.write_text(made.model_copy(update={"note": "another"}).model_dump_json(), "utf-8")
    with pytest.raises(StoreError, match="of this store's own"):
        pull(other, objects, KITCHEN, silent)
    with pytest.raises(StoreError, match="made elsewhere"):
        push(other, objects, KITCHEN, silent)


def test_while_a_job_indexes_here_nothing_is_pulled(
    maker: Maker, other: Paths, objects: Objects
) -> None:
    maker.release()
    push(maker.paths, objects, KITCHEN, silent)
    with locked(other.domain(KITCHEN)), pytest.raises(StoreError, match="Another job"):
        pull(other, objects, KITCHEN, silent)


def test_nothing_pushed_yet_and_nothing_to_push_are_said(
    paths: Paths, other: Paths, objects: Objects
) -> None:
    with pytest.raises(NotFound, match="has no release of kitchen"):
        read_pointer(objects, KITCHEN)
    with pytest.raises(NotFound, match="no live release"):
        push(paths, objects, KITCHEN, silent)


def test_a_manifest_that_says_otherwise_than_its_digest_is_refused(
    maker: Maker, other: Paths, objects: Objects
) -> None:
    made = maker.release()
    pointer = push(maker.paths, objects, KITCHEN, silent)
    assert made.adapter is not None
    [manifest] = AdapterRegistry(maker.paths).line("style")
    changed = manifest.model_copy(update={"prompt_format": "passages"})
    line = LINE.dump_json([changed])
    objects.write(f"lines/{sha256(line)}.json", line)
    moved = pointer.model_copy(update={"line": sha256(line)}).sealed()
    objects.write(f"live/{KITCHEN}.json", moved.model_dump_json().encode())
    with pytest.raises(StoreError, match=r"manifest of style@1 .* was changed"):
        pull(other, objects, KITCHEN, silent)
    assert not other.adapter(made.adapter.digest).exists()


def test_a_pointer_that_was_changed_is_none(maker: Maker, objects: Objects) -> None:
    maker.release()
    pointer = push(maker.paths, objects, KITCHEN, silent)
    changed = pointer.model_copy(update={"release": 2})
    objects.write(f"live/{KITCHEN}.json", changed.model_dump_json().encode())
    with pytest.raises(StoreError, match="is damaged"):
        read_pointer(objects, KITCHEN)


@pytest.mark.parametrize("url", ["bucket/path", "nothing://x/y"])
def test_an_address_that_is_none_is_refused(url: str) -> None:
    with pytest.raises(BadInput, match=r"no address|library is missing"):
        Objects(url)


def test_a_store_that_cannot_be_written_is_said(maker: Maker, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way", encoding="utf-8")
    maker.release()
    with pytest.raises(StoreError, match="Cannot use file://"):
        push(maker.paths, Objects(f"file://{tmp_path}/file/below"), KITCHEN, silent)


def test_a_follower_says_each_trouble_once_waits_longer_and_goes_on() -> None:
    now = [0.0]
    said: list[str] = []
    asked: list[float] = []

    class Enough(Exception):
        """To end what has no end."""

    def move(domain: str) -> int:
        asked.append(now[0])
        if now[0] < 20:
            raise StoreError("away")
        return 7

    def sleep(seconds: float) -> None:
        now[0] += seconds
        if now[0] > 60:
            raise Enough

    with pytest.raises(Enough):
        keep_moving([KITCHEN], move, said.append, 1.0, lambda: now[0], sleep)
    assert said == ["kitchen: away", "kitchen: release 7"]
    assert asked[:6] == [0.0, 1.0, 3.0, 7.0, 15.0, 31.0]
    assert asked[6:] == [float(second) for second in range(32, 61)]


def test_a_release_is_live_elsewhere_within_two_seconds_when_both_watch(
    maker: Maker, other: Paths, objects: Objects
) -> None:
    maker.release()
    ended = threading.Event()
    moved = threading.Event()

    def look(_: float) -> None:
        if ended.wait(0.05):
            raise KeyboardInterrupt

    def move(domain: str) -> int:
        push(maker.paths, objects, domain, silent)
        return pull(other, objects, domain, silent).release

    def say(line: str) -> None:
        if line.endswith("release 2"):
            moved.set()

    def watch() -> None:
        with pytest.raises(KeyboardInterrupt):
            keep_moving([KITCHEN], move, say, 0.05, sleep=look)

    thread = threading.Thread(target=watch)
    thread.start()
    maker.release()
    assert moved.wait(30)
    ended.set()
    thread.join()
    assert ReleaseStore(other).pointer(KITCHEN).number() == 2


def test_the_commands_push_and_pull(
    maker: Maker, other: Paths, bucket: Path, domains: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    maker.release()
    monkeypatch.setenv("DSLM_DOMAINS", str(domains))
    said: list[tuple[int, str]] = []
    for store, word in ((maker.paths, "push"), (other, "pull")):
        monkeypatch.setenv("DSLM_STORE", str(store.root))
        run = CliRunner().invoke(app, ["release", word, f"file://{bucket}", KITCHEN])
        said.append((run.exit_code, run.output))
    assert said == [
        (0, f"kitchen: release 1 is in file://{bucket}\n"),
        (0, "kitchen: release 1 is live\n"),
    ]
    pointer = json.loads((bucket / "live" / "kitchen.json").read_text("utf-8"))
    assert pointer["release"] == 1
    assert not [name for name in os.listdir(bucket / "live") if name.startswith(".")]


@pytest.fixture
def s3(monkeypatch: pytest.MonkeyPatch) -> Iterator[Objects]:
    """A bucket of a local server that speaks S3."""
    if find_spec("moto") is None or find_spec("flask") is None:
        pytest.skip("moto[s3], flask and flask-cors are not installed")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"http://127.0.0.1:{free.getsockname()[1]}"
    words = [sys.executable, "-m", "moto.server", "-p", address.rpartition(":")[2]]
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "test")
    monkeypatch.setenv("AWS_REGION", "us-east-1")
    monkeypatch.setenv("AWS_ENDPOINT_URL", address)
    server = subprocess.Popen(words, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        while server.poll() is None:
            with contextlib.suppress(OSError):
                put = urllib.request.Request(f"{address}/bucket", method="PUT")
                urllib.request.urlopen(put, timeout=10).close()
                break
            time.sleep(0.05)
        yield Objects("s3://bucket/dslm")
    finally:
        server.kill()
        server.wait()


def test_a_server_that_speaks_s3_does_as_well(maker: Maker, other: Paths, s3: Objects) -> None:
    maker.release()
    push(maker.paths, s3, KITCHEN, silent)
    pull(other, s3, KITCHEN, silent)
    made = maker.release()
    push(maker.paths, s3, KITCHEN, silent)
    pull(other, s3, KITCHEN, silent)
    assert ReleaseStore(other).live(KITCHEN) == made
    assert s3.read("no/such/object") is None
    file = f"adapters/{_digest(maker)}/adapter_config.json"
    s3.write(file, b"{}")
    shutil.rmtree(other.root)
    with pytest.raises(StoreError, match="is not what was pushed"):
        pull(other, s3, KITCHEN, silent)
