"""Old releases go, and never one that anybody needs."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from adapters.audit import Cause
from adapters.lease import ReleaseLease
from adapters.pruning import prune, removable
from adapters.release import ReleaseStore
from adapters.steering import set_canary, set_mirror
from adapters.traffic import Canary, Mirror
from indexer.errors import BadInput, StoreError
from indexer.settings import Paths
from tests.adapters.test_release import SNAPSHOT, make_domain, put_snapshot

ME = Cause("me")


def ten(paths: Paths, folder: Path) -> None:
    put_snapshot(paths)
    for _ in range(10):
        ReleaseStore(paths).create(make_domain(folder), snapshot=SNAPSHOT)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("ten")
    ten(Paths(folder / "store"), folder)
    return folder / "store"


@pytest.fixture
def store(made: Path, paths: Paths) -> ReleaseStore:
    """Ten releases, each of which was live once; the last is."""
    shutil.copytree(made, paths.root)
    return ReleaseStore(paths)


def gone(store: ReleaseStore, keep: int, *, dry: bool = False) -> list[int]:
    found = prune(store, "support", keep, ME, dry=dry)
    return [one.release.number for one in found if not one.in_use]


def test_what_is_kept_is_live_the_way_back_canary_and_mirror(store: ReleaseStore) -> None:
    set_canary(store, "support", Canary(release=2, share=0.1), ME)
    set_mirror(store, "support", Mirror(release=4), ME)
    assert removable(store, "support", 2) == [1, 3, 5, 6, 7]
    assert gone(store, 2, dry=True) == [1, 3, 5, 6, 7]
    assert len(store.numbers("support")) == 10
    assert gone(store, 2) == [1, 3, 5, 6, 7]
    assert list(store.numbers("support")) == [2, 4, 8, 9, 10]
    assert store.audit("support").read()[0][-1].more == {"releases": [1, 3, 5, 6, 7]}
    assert gone(store, 2) == []


def test_newer_releases_than_the_live_one_wait_and_stay(store: ReleaseStore) -> None:
    store.activate("support", 4)
    assert removable(store, "support", 0) == [1, 2, 3]


def test_a_number_is_never_given_again(store: ReleaseStore, tmp_path: Path) -> None:
    gone(store, 0)
    assert list(store.numbers("support")) == [10]
    assert store.create(make_domain(tmp_path)).number == 11


def test_the_way_back_leads_over_what_is_left(store: ReleaseStore) -> None:
    gone(store, 2)
    assert [store.rollback("support").number for _ in range(2)] == [9, 8]
    with pytest.raises(BadInput, match="Nothing answered"):
        store.rollback("support")


HOLDER = """
import sys
from pathlib import Path
from adapters.lease import ReleaseLease
lease = ReleaseLease(Path(sys.argv[1]))
print("held", flush=True)
sys.stdin.read()
"""


def test_a_release_that_another_process_has_open_stays_until_that_ends(
    store: ReleaseStore,
) -> None:
    holder = subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(store.file("support", 3))],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    assert holder.stdout is not None
    assert holder.stdout.readline() == b"held\n"
    assert 3 not in gone(store, 0, dry=True)
    assert 3 not in gone(store, 0)
    assert list(store.numbers("support")) == [3, 10]
    holder.kill()
    holder.communicate()
    assert gone(store, 0) == [3]


def test_a_lease_is_refused_for_what_is_gone_or_being_removed(store: ReleaseStore) -> None:
    first, second = (ReleaseLease(store.file("support", 1)) for _ in range(2))
    first.end()
    assert 1 not in gone(store, 0)
    second.end()
    assert 1 in gone(store, 0)
    with pytest.raises(StoreError):
        ReleaseLease(store.file("support", 1))


def test_before_the_first_live_release_nothing_goes(paths: Paths, tmp_path: Path) -> None:
    put_snapshot(paths)
    store = ReleaseStore(paths)
    store.create(make_domain(tmp_path), snapshot=SNAPSHOT, activate=False)
    assert gone(store, 0) == []


@given(
    moves=st.lists(st.integers(1, 10), max_size=6),
    keep=st.integers(0, 4),
    canary=st.integers(1, 10),
)
@settings(max_examples=10, deadline=None)
def test_after_any_moves_pruning_leaves_what_answers_and_the_way_back(
    tmp_path_factory: pytest.TempPathFactory,
    made: Path,
    moves: list[int],
    keep: int,
    canary: int,
) -> None:
    root = tmp_path_factory.mktemp("pruned") / "store"
    shutil.copytree(made, root)
    store = ReleaseStore(Paths(root))
    for number in moves:
        store.activate("support", number)
    live = store.pointer("support").number()
    if canary != live:
        set_canary(store, "support", Canary(release=canary, share=0.5), ME)
    before = store.pointer("support").before()
    kept = list(dict.fromkeys(reversed(before)))[:keep]
    gone(store, keep)
    left = set(store.numbers("support"))
    assert {live, canary, 10, *kept} <= left
    assert set(store.pointer("support").before()) <= left
    assert store.live("support") is not None
