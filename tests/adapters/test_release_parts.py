"""A release from parts: what is given counts, the rest is as in the live release."""

from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from adapters.base import BaseProfile
from adapters.parts import Changes, difference
from adapters.registry import AdapterRegistry
from adapters.release import Release, ReleaseStore, spans
from indexer.domain import AnswerSettings, RetrievalSettings
from indexer.errors import BadInput, NotFound
from indexer.settings import Paths
from tests.adapters.test_release import SNAPSHOT, make_domain, put_snapshot

if TYPE_CHECKING:
    from .conftest import WriteAdapter


@pytest.fixture
def store(paths: Paths) -> ReleaseStore:
    put_snapshot(paths)
    put_snapshot(paths, "bbbb")
    put_snapshot(paths, "bbcc")
    return ReleaseStore(paths)


@pytest.fixture
def live(store: ReleaseStore, tmp_path: Path) -> Release:
    """Made with settings that the domain's file has no longer."""
    answer = AnswerSettings(mode="verbatim", refusal="Not here.")
    domain = make_domain(tmp_path, answer=answer, retrieval=RetrievalSettings(passages=7))
    return store.create(domain, snapshot=SNAPSHOT)


def test_what_is_not_given_is_as_in_the_live_release_and_not_as_in_the_domains_file(
    store: ReleaseStore, live: Release, tmp_path: Path
) -> None:
    changes = Changes(answer={"refusal": "Nothing."}, retrieval={"candidates": 60})
    made = store.create(make_domain(tmp_path), changes=changes, activate=False)
    assert (made.mode, made.refusal) == ("verbatim", "Nothing.")
    assert (made.retrieval.passages, made.retrieval.candidates) == (7, 60)
    assert (made.snapshot, made.parent) == (SNAPSHOT, 1)
    assert store.live("support") == live


def test_before_the_first_release_the_rest_is_the_domains(
    store: ReleaseStore, tmp_path: Path
) -> None:
    domain = make_domain(tmp_path, answer=AnswerSettings(refusal="Not here."))
    made = store.create(domain, snapshot=SNAPSHOT, changes=Changes(answer={"max_tokens": 9}))
    assert (made.refusal, made.max_tokens) == ("Not here.", 9)


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        (Changes(answer={"mood": "x"}), "There is no setting `answer.mood`.*Did you mean"),
        (Changes(answer={"mode": "loud"}), "`answer.mode` = 'loud'.*'generate'"),
        (Changes(retrieval={"passages": 99}), "`retrieval.passages` = 99.*32"),
        (Changes(retrieval={"passages": "4"}), "`retrieval.passages` = '4'"),
    ],
)
def test_a_change_that_cannot_be_is_named_and_makes_no_release(
    store: ReleaseStore, live: Release, tmp_path: Path, changes: Changes, told: str
) -> None:
    with pytest.raises(BadInput, match=told):
        store.create(make_domain(tmp_path), changes=changes)
    assert list(store.numbers("support")) == [1]
    assert [entry.action for entry in store.audit("support").read()[0]] == ["create", "activate"]


def test_a_snapshot_is_named_by_how_its_id_begins(
    store: ReleaseStore, live: Release, tmp_path: Path
) -> None:
    domain = make_domain(tmp_path)
    assert store.create(domain, snapshot="bbb").snapshot == "bbbb"
    with pytest.raises(BadInput, match="several snapshots bb: bbbb, bbcc"):
        store.create(domain, snapshot="bb")


@pytest.mark.parametrize("name", ["../../legal/snapshots/aaaa", ".", "..", "/etc", "aaaa/", "x"])
def test_no_name_of_a_snapshot_leads_out_of_the_domains_own(
    store: ReleaseStore, live: Release, tmp_path: Path, name: str
) -> None:
    with pytest.raises(NotFound):
        store.create(make_domain(tmp_path), snapshot=name)


def test_the_difference_names_what_two_releases_pin_otherwise(
    store: ReleaseStore,
    live: Release,
    tmp_path: Path,
    paths: Paths,
    base: BaseProfile,
    write_adapter: "WriteAdapter",
) -> None:
    adapter = AdapterRegistry(paths).add(
        write_adapter(), "style", base=base, prompt_format="sentences"
    )
    changes = Changes(retrieval={"passages": 2})
    made = store.create(make_domain(tmp_path), adapter=adapter, changes=changes, note="try")
    assert difference(live, live) == {}
    found = difference(live, made)
    assert found["retrieval.passages"] == (7, 2)
    assert found["adapter.name"] == (None, "style")
    assert "note" not in found
    assert difference(made, live)["adapter.version"] == (1, None)


def test_a_release_whose_snapshot_has_lost_a_file_is_not_activated(
    store: ReleaseStore, live: Release, tmp_path: Path, paths: Paths
) -> None:
    made = store.create(make_domain(tmp_path), snapshot="bbbb", activate=False)
    (paths.snapshot("support", "bbbb") / "manifest.json").unlink()
    with pytest.raises(Exception, match=r"manifest\.json"):
        store.activate("support", made.number)
    assert store.live("support") == live


@pytest.mark.parametrize(
    ("numbers", "told"),
    [([], "none yet"), ([3], "3"), ([1, 2, 3, 7, 9, 10], "1 to 3, 7, 9 to 10")],
)
def test_numbers_are_told_as_spans(numbers: list[int], told: str) -> None:
    assert spans(numbers) == told
