"""Old snapshots go, but for those that a release names, a process uses or the settings keep."""

import os
from pathlib import Path

import pytest

from indexer.errors import BadInput, NotFound
from indexer.settings import Paths
from indexer.store.leases import Lease
from indexer.store.manifest import FORMAT, EmbedderMark, SnapshotManifest
from indexer.store.prune import Stored, choose, in_use, removable, remove, stored

MANIFEST = SnapshotManifest(
    format=FORMAT,
    domain="kitchen",
    documents=2,
    chunks=3,
    sentences=4,
    demonstrations=1,
    embedder=EmbedderMark(name="hash", dtype="fp32", fingerprint="f", space="s", dimension=32),
    files={},
)


@pytest.fixture
def three(paths: Paths) -> list[Stored]:
    """As much of three snapshots as is looked at, newest first."""
    for number in range(3):
        folder = paths.snapshot("kitchen", f"{number}{number}aa")
        folder.mkdir(parents=True)
        (folder / "manifest.json").write_bytes(MANIFEST.to_json())
        os.utime(folder / "manifest.json", (number, number))
    return stored(paths, "kitchen")


def test_snapshots_are_listed_newest_first_with_what_they_hold(three: list[Stored]) -> None:
    assert [one.id for one in three] == ["22aa", "11aa", "00aa"]
    assert {one.manifest.documents for one in three if one.manifest} == {2}
    assert three[0].bytes == (three[0].path / "manifest.json").stat().st_size


def test_a_domain_without_snapshots_has_none(paths: Paths) -> None:
    assert stored(paths, "kitchen") == []


@pytest.mark.parametrize(
    ("named", "keep", "gone"),
    [
        (set(), 3, []),
        (set(), 1, ["11aa", "00aa"]),
        (set(), 0, ["22aa", "11aa", "00aa"]),
        ({"00aa"}, 1, ["11aa"]),
        ({"22aa"}, 1, ["00aa"]),
        ({"22aa", "11aa", "00aa"}, 0, []),
    ],
)
def test_the_newest_stay_besides_those_that_are_named(
    three: list[Stored], named: set[str], keep: int, gone: list[str]
) -> None:
    assert [one.id for one in removable(three, named, keep)] == gone


def test_what_cannot_be_read_is_kept_for_nobody(three: list[Stored], paths: Paths) -> None:
    (three[0].path / "manifest.json").write_text("{}")
    (three[1].path / "manifest.json").unlink()
    now = stored(paths, "kitchen")
    assert sum(one.manifest is None for one in now) == 2
    assert all(one.trouble for one in now if one.manifest is None)
    assert {one.id for one in removable(now, set(), 1)} == {"22aa", "11aa"}
    assert [remove(one) for one in removable(now, set(), 1)] == [True, True]
    assert [one.id for one in stored(paths, "kitchen")] == ["00aa"]


def test_a_snapshot_in_use_stays_and_goes_when_it_is_closed(
    three: list[Stored], paths: Paths
) -> None:
    lease = Lease(three[2].path)
    assert (in_use(three[2]), remove(three[2])) == (True, False)
    assert len(stored(paths, "kitchen")) == 3
    lease.release()
    assert (in_use(three[2]), remove(three[2])) == (False, True)
    assert [one.id for one in stored(paths, "kitchen")] == ["22aa", "11aa"]
    assert sorted(os.listdir(paths.snapshots("kitchen"))) == ["11aa", "22aa"]


def test_a_removal_that_is_cut_short_leaves_no_half_snapshot(
    three: list[Stored], paths: Paths, monkeypatch: pytest.MonkeyPatch
) -> None:
    def killed(folder: Path) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("indexer.store.prune.shutil.rmtree", killed)
    with pytest.raises(KeyboardInterrupt):
        remove(three[0])
    assert [one.id for one in stored(paths, "kitchen")] == ["11aa", "00aa"]


def test_an_id_may_be_cut_short_while_it_is_told_apart(three: list[Stored]) -> None:
    assert choose(three, "1").id == "11aa"
    assert choose(three, "22aa").id == "22aa"
    with pytest.raises(BadInput, match="22aa, 11aa, 00aa"):
        choose(three, "")
    with pytest.raises(NotFound, match=r"no snapshot x.*Snapshots: 22aa, 11aa, 00aa"):
        choose(three, "x")
