"""TRAFFIC: who falls to the canary, and how canary and mirror begin and end."""

import math
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from adapters.audit import Cause
from adapters.release import ReleaseStore
from adapters.steering import drop_canary, end_mirror, set_canary, set_mirror
from adapters.traffic import Canary, Mirror, Traffic, TrafficFile, place
from indexer.errors import BadInput, NotFound, StoreError
from indexer.settings import Paths
from tests.adapters.test_release import SNAPSHOT, make_domain, put_snapshot

ME = Cause("me")
CALLERS = 20_000


@pytest.fixture
def store(paths: Paths, tmp_path: Path) -> ReleaseStore:
    """Release 1 is live, 2 and 3 wait."""
    put_snapshot(paths)
    found = ReleaseStore(paths)
    found.create(make_domain(tmp_path), snapshot=SNAPSHOT)
    found.create(make_domain(tmp_path), activate=False)
    found.create(make_domain(tmp_path), activate=False)
    return found


@given(
    share=st.floats(min_value=0.001, max_value=1.0),
    number=st.integers(1, 10**6),
    seed=st.integers(),
)
@settings(max_examples=25, deadline=None)
def test_the_share_of_callers_is_met_to_within_chance(share: float, number: int, seed: int) -> None:
    canary = Canary(release=number, share=share)
    taken = sum(canary.takes("support", f"user:{seed}-{caller}") for caller in range(2000))
    deviation = math.sqrt(2000 * share * (1 - share))
    assert abs(taken - 2000 * share) <= 6 * deviation + 1


@pytest.mark.parametrize("share", [0.01, 0.1, 0.5])
def test_in_the_long_run_the_share_is_exact(share: float) -> None:
    canary = Canary(release=5, share=share)
    taken = sum(canary.takes("support", f"user:{caller}") for caller in range(CALLERS))
    assert taken / CALLERS == pytest.approx(share, abs=4 * math.sqrt(share * (1 - share) / CALLERS))


@given(caller=st.text(), number=st.integers(1, 10**6), small=st.floats(0.01, 0.5))
@settings(deadline=None)
def test_a_caller_stays_and_a_larger_share_keeps_him(
    caller: str, number: int, small: float
) -> None:
    fewer, more = (Canary(release=number, share=share) for share in (small, small * 2))
    assert fewer.takes("support", caller) == fewer.takes("support", caller)
    assert more.takes("support", caller) or not fewer.takes("support", caller)
    assert Canary(release=number, share=1.0).takes("support", caller)


def test_another_release_or_domain_draws_other_callers() -> None:
    callers = [f"user:{number}" for number in range(CALLERS)]
    drawn = [
        {caller for caller in callers if Canary(release=number, share=0.1).takes(domain, caller)}
        for domain, number in (("support", 5), ("support", 6), ("legal", 5))
    ]
    for other in drawn[1:]:
        both = len(drawn[0] & other) / CALLERS
        assert both == pytest.approx(0.01, abs=0.004)


def test_a_callers_place_is_the_same_in_every_process_and_version() -> None:
    """These are kept: a change of the hash would move everybody to another release."""
    assert place("support@5", "user:alice") == 0.253799744542307
    assert place("support@5", "user:\udcff") == place("support@5", "user:?")


def test_canary_and_mirror_stand_in_one_file_and_leave_each_other_alone(
    store: ReleaseStore,
) -> None:
    assert store.traffic("support") == Traffic()
    set_canary(store, "support", Canary(release=2, share=0.1), ME)
    set_mirror(store, "support", Mirror(release=3), ME)
    assert store.traffic("support").releases() == {"canary": 2, "mirror": 3}
    assert drop_canary(store, "support", ME) == 2
    assert store.traffic("support").releases() == {"mirror": 3}
    assert end_mirror(store, "support", ME) == 3
    assert store.traffic("support") == Traffic()


def test_promoting_makes_the_canary_live_and_can_be_rolled_back(store: ReleaseStore) -> None:
    set_canary(store, "support", Canary(release=3, share=0.1), ME)
    set_mirror(store, "support", Mirror(release=2), ME)
    assert store.promote("support", ME).number == 3
    live = store.live("support")
    assert live is not None
    assert live.number == 3
    assert store.traffic("support").releases() == {"mirror": 2}
    assert store.rollback("support").number == 1
    assert store.traffic("support").canary is None


@pytest.mark.parametrize("way", ["activate", "rollback", "crash"])
def test_what_is_live_is_nobodys_canary(store: ReleaseStore, paths: Paths, way: str) -> None:
    if way == "rollback":
        store.activate("support", 2)
        set_canary(store, "support", Canary(release=1, share=0.1), ME)
        store.rollback("support")
    elif way == "activate":
        set_canary(store, "support", Canary(release=2, share=0.1), ME)
        store.activate("support", 2)
    else:  # between LIVE and TRAFFIC
        set_canary(store, "support", Canary(release=2, share=0.1), ME)
        paths.live("support").write_text("2\n", "utf-8")
    assert store.traffic("support").canary is None
    store.activate("support", 3)
    assert store.traffic("support").canary is None


def test_what_cannot_be_is_refused_and_changes_nothing(store: ReleaseStore, paths: Paths) -> None:
    refused: dict[Callable[[], object], type[Exception]] = {
        lambda: set_canary(store, "support", Canary(release=9, share=0.1), ME): NotFound,
        lambda: set_canary(store, "support", Canary(release=1, share=0.1), ME): BadInput,
        lambda: set_mirror(store, "support", Mirror(release=1), ME): BadInput,
        lambda: drop_canary(store, "support", ME): BadInput,
        lambda: end_mirror(store, "support", ME): BadInput,
        lambda: store.promote("support", ME): BadInput,
    }
    for attempt, error in refused.items():
        with pytest.raises(error):
            attempt()
    assert store.traffic("support") == Traffic()
    assert len(store.audit("support").read()[0]) == 4
    for share in (0.0, -0.1, 1.01, math.nan, math.inf):
        with pytest.raises(ValidationError):
            Canary(release=2, share=share)


def test_without_a_live_release_there_is_nothing_to_try_another_beside(
    paths: Paths, tmp_path: Path
) -> None:
    put_snapshot(paths)
    store = ReleaseStore(paths)
    store.create(make_domain(tmp_path), snapshot=SNAPSHOT, activate=False)
    with pytest.raises(BadInput, match="no live release"):
        set_canary(store, "support", Canary(release=1, share=0.1), ME)


def test_a_damaged_file_is_named_and_live_still_answers(store: ReleaseStore, paths: Paths) -> None:
    TrafficFile(paths, "support").path.write_text('{"canary": 1}', "utf-8")
    with pytest.raises(StoreError, match="TRAFFIC"):
        store.traffic("support")
    assert store.live("support") is not None
