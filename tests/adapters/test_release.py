"""ReleaseStore: numbers nobody shares, LIVE that no crash loses, and the way back."""

import contextlib
import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from adapters.base import BaseProfile
from adapters.errors import AdapterRefused
from adapters.manifest import AdapterManifest
from adapters.registry import AdapterRegistry
from adapters.release import Release, ReleaseStore
from indexer.domain import AnswerSettings, Domain, EmbedderSettings
from indexer.errors import BadInput, NotFound, StoreError
from indexer.settings import Paths
from indexer.store.manifest import FORMAT, EmbedderMark, SnapshotManifest

if TYPE_CHECKING:
    from .conftest import WriteAdapter

SNAPSHOT = "aaaa"


def make_domain(folder: Path, **settings: Any) -> Domain:
    return Domain(name="support", folder=folder, **settings)


def put_snapshot(paths: Paths, name: str = SNAPSHOT) -> None:
    """As much of a snapshot as a release looks at: its manifest."""
    folder = paths.snapshot("support", name)
    folder.mkdir(parents=True)
    mark = EmbedderMark(
        name="all-MiniLM-L6-v2", dtype="fp32", fingerprint=f"f{name}", space="s", dimension=2
    )
    manifest = SnapshotManifest(
        format=FORMAT,
        domain="support",
        documents=1,
        chunks=1,
        sentences=1,
        demonstrations=0,
        embedder=mark,
        files={},
    )
    (folder / "manifest.json").write_bytes(manifest.to_json())


@pytest.fixture
def domain(tmp_path: Path) -> Domain:
    return make_domain(tmp_path)


@pytest.fixture
def store(paths: Paths) -> ReleaseStore:
    put_snapshot(paths)
    put_snapshot(paths, "bbbb")
    return ReleaseStore(paths)


@pytest.fixture
def adapter(paths: Paths, base: BaseProfile, write_adapter: "WriteAdapter") -> AdapterManifest:
    return AdapterRegistry(paths).add(
        write_adapter(), "style", base=base, prompt_format="sentences"
    )


def test_the_first_release_pins_everything_and_answers(store: ReleaseStore, domain: Domain) -> None:
    release = store.create(domain, snapshot=SNAPSHOT, note="first")
    assert (release.number, release.parent, release.adapter) == (1, None, None)
    assert release.embedder.fingerprint == "faaaa"
    assert release.refusal == "The documents do not say."
    assert store.live("support") == release == store.get("support", 1)


def test_a_domain_without_releases_has_none_live(store: ReleaseStore) -> None:
    assert store.live("support") is None
    assert list(store.list("support")) == []


def test_what_is_not_given_is_inherited_from_the_live_release(
    store: ReleaseStore, domain: Domain, adapter: AdapterManifest
) -> None:
    store.create(domain, snapshot=SNAPSHOT, adapter=adapter)
    release = store.create(domain, snapshot="bbbb")
    assert release.adapter is not None
    assert release.adapter.label == "style@1"
    assert release.base == adapter.base.digest
    swapped = store.create(domain, adapter=None)
    assert (swapped.snapshot, swapped.adapter, swapped.parent) == ("bbbb", None, 2)


def test_the_first_release_takes_the_domains_adapter_and_later_ones_do_not(
    store: ReleaseStore, tmp_path: Path, adapter: AdapterManifest
) -> None:
    domain = make_domain(tmp_path, adapter="style")
    first = store.create(domain, snapshot=SNAPSHOT)
    assert first.adapter is not None
    assert first.adapter.engine_name == f"style@{adapter.digest[:12]}"
    store.create(domain, adapter=None)
    assert store.create(domain).adapter is None


def test_an_adapter_that_the_store_lacks_is_named(store: ReleaseStore, tmp_path: Path) -> None:
    with pytest.raises(NotFound, match="style"):
        store.create(make_domain(tmp_path, adapter="style"), snapshot=SNAPSHOT)
    assert store.live("support") is None


def test_settings_come_from_the_domain_as_it_is_now(store: ReleaseStore, tmp_path: Path) -> None:
    store.create(make_domain(tmp_path), snapshot=SNAPSHOT)
    answer = AnswerSettings(mode="verbatim", refusal="Not here.")
    release = store.create(make_domain(tmp_path, answer=answer))
    assert (release.mode, release.refusal) == ("verbatim", "Not here.")


def test_an_adapter_for_another_prompt_format_is_refused(
    store: ReleaseStore, tmp_path: Path, adapter: AdapterManifest
) -> None:
    domain = make_domain(tmp_path, answer=AnswerSettings(prompt_format="passages"))
    with pytest.raises(AdapterRefused, match="sentences"):
        store.create(domain, snapshot=SNAPSHOT, adapter=adapter)


@pytest.mark.parametrize("said", ["by the caller", "by the live release"])
def test_an_adapter_for_another_base_is_refused(
    store: ReleaseStore, domain: Domain, adapter: AdapterManifest, said: str
) -> None:
    store.create(domain, snapshot=SNAPSHOT, base="0" * 64)
    with pytest.raises(AdapterRefused, match="another base"):
        store.create(domain, adapter=adapter, base="0" * 64 if said == "by the caller" else None)
    assert [release.number for release in store.list("support")] == [1]


def test_a_release_needs_a_snapshot_that_exists(store: ReleaseStore, domain: Domain) -> None:
    with pytest.raises(BadInput, match="no index"):
        store.create(domain)
    with pytest.raises(NotFound, match="cccc"):
        store.create(domain, snapshot="cccc")
    assert list(store.list("support")) == []


def test_a_snapshot_embedded_by_another_model_is_refused(
    store: ReleaseStore, tmp_path: Path
) -> None:
    domain = make_domain(tmp_path, embedder=EmbedderSettings(name="bge-small-en-v1.5"))
    with pytest.raises(BadInput, match=r"bge-small-en-v1\.5"):
        store.create(domain, snapshot=SNAPSHOT)


def test_a_release_may_wait(store: ReleaseStore, domain: Domain) -> None:
    store.create(domain, snapshot=SNAPSHOT)
    waiting = store.create(domain, snapshot="bbbb", activate=False)
    live = store.live("support")
    assert live is not None
    assert live.number == 1
    assert store.activate("support", waiting.number) == waiting == store.live("support")


def make_releases(store: ReleaseStore, domain: Domain, count: int) -> None:
    for _ in range(count):
        store.create(domain, snapshot=SNAPSHOT)


def live_number(store: ReleaseStore) -> int:
    live = store.live("support")
    assert live is not None
    return live.number


def test_previous_is_where_a_rollback_leads(store: ReleaseStore, domain: Domain) -> None:
    make_releases(store, domain, 2)
    assert store.previous("support") == store.rollback("support")


def test_rollback_goes_back_step_by_step_to_what_answered(
    store: ReleaseStore, domain: Domain
) -> None:
    make_releases(store, domain, 3)
    store.activate("support", 1)
    assert [store.rollback("support").number for _ in range(3)] == [3, 2, 1]
    with pytest.raises(BadInput, match="Nothing answered for support before"):
        store.rollback("support")
    assert live_number(store) == 1


def test_activating_the_live_release_again_adds_nothing_to_go_back_to(
    store: ReleaseStore, domain: Domain
) -> None:
    make_releases(store, domain, 2)
    store.activate("support", 2)
    assert store.rollback("support").number == 1


def test_after_a_rollback_numbers_go_on_and_the_parent_is_what_was_live(
    store: ReleaseStore, domain: Domain
) -> None:
    make_releases(store, domain, 2)
    store.rollback("support")
    release = store.create(domain)
    assert (release.number, release.parent) == (3, 1)
    assert store.rollback("support").number == 1


@pytest.mark.parametrize("number", [0, 3, -1])
def test_an_unknown_number_says_which_there_are(
    store: ReleaseStore, domain: Domain, number: int
) -> None:
    make_releases(store, domain, 2)
    with pytest.raises(NotFound, match="1 to 2"):
        store.activate("support", number)
    assert live_number(store) == 2


class Killed(BaseException):
    """Stands for the process dying."""


ACTIONS: dict[str, Callable[[ReleaseStore, Domain], Release]] = {
    "create": lambda store, domain: store.create(domain),
    "rollback": lambda store, domain: store.rollback("support"),
    "activate": lambda store, domain: store.activate("support", 1),
}


@pytest.mark.parametrize("dies_at", range(1, 8))
@pytest.mark.parametrize(
    ("action", "before_live"),
    [
        ("create", {3: 2, 4: 3}),
        ("rollback", {3: 2, 2: 1}),
        ("activate", {3: 2, 1: 3}),
    ],
)
def test_after_a_crash_at_any_step_a_release_answers_and_the_way_back_is_known(
    store: ReleaseStore,
    domain: Domain,
    monkeypatch: pytest.MonkeyPatch,
    action: str,
    before_live: dict[int, int],
    dies_at: int,
) -> None:
    make_releases(store, domain, 3)
    _die_at_publication(monkeypatch, dies_at)
    with contextlib.suppress(Killed):
        ACTIONS[action](store, domain)
    monkeypatch.undo()
    live = live_number(store)
    assert store.rollback("support").number == before_live[live]
    number = store.create(domain).number
    assert number == max(release.number for release in store.list("support"))


def _die_at_publication(monkeypatch: pytest.MonkeyPatch, dies_at: int) -> None:
    """Die before the first rename or link (1), after it (2), before the second (3), and so on."""
    counted = 0

    def dying(publish: Any) -> Any:
        def wrapper(source: Any, target: Any) -> None:
            nonlocal counted
            counted += 1
            if counted == dies_at:
                raise Killed
            publish(source, target)
            counted += 1
            if counted == dies_at:
                raise Killed

        return wrapper

    monkeypatch.setattr(os, "replace", dying(os.replace))
    monkeypatch.setattr(os, "link", dying(os.link))


@pytest.mark.parametrize("content", ["", "two", "-1"])
def test_a_damaged_live_names_the_file(store: ReleaseStore, paths: Paths, content: str) -> None:
    paths.live("support").write_text(content, encoding="utf-8")
    with pytest.raises(StoreError, match="LIVE"):
        store.live("support")


def test_a_damaged_release_names_the_file(
    store: ReleaseStore, domain: Domain, paths: Paths
) -> None:
    make_releases(store, domain, 1)
    (paths.releases("support") / "1.json").write_text('{"number": 1}', encoding="utf-8")
    with pytest.raises(StoreError, match=r"1\.json"):
        store.live("support")


def test_a_released_file_is_never_written_over(
    store: ReleaseStore, domain: Domain, paths: Paths
) -> None:
    make_releases(store, domain, 1)
    before = (paths.releases("support") / "1.json").read_bytes()
    make_releases(store, domain, 3)
    store.rollback("support")
    assert (paths.releases("support") / "1.json").read_bytes() == before


def create_some(root: Path, folder: Path, count: int) -> None:
    store = ReleaseStore(Paths(root))
    for _ in range(count):
        store.create(make_domain(folder), snapshot=SNAPSHOT)


def test_writers_at_the_same_time_never_take_the_same_number(
    store: ReleaseStore, paths: Paths, tmp_path: Path
) -> None:
    with ThreadPoolExecutor(4) as writers:
        for written in [writers.submit(create_some, paths.root, tmp_path, 5) for _ in range(4)]:
            written.result()
    releases = store.list("support")
    assert [release.number for release in releases] == list(range(1, 21))
    assert [release.parent for release in releases] == [None, *range(1, 20)]
    assert live_number(store) == 20


def test_a_release_reads_back_as_it_was_written(store: ReleaseStore, domain: Domain) -> None:
    release = store.create(domain, snapshot=SNAPSHOT)
    assert Release.model_validate_json(release.model_dump_json()) == release
