"""A domain with a gate: what may answer, what may not, and what the audit says of it."""

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from adapters.audit import Cause
from adapters.errors import NotGated
from adapters.gating import Demand, GateCheck, GateReport, GateReports, demand_of, reasoned
from adapters.release import ReleaseStore
from adapters.steering import set_canary
from adapters.traffic import Canary
from indexer.domain import Domain, GateSettings, load_domain
from indexer.errors import BadInput, StoreError
from indexer.settings import Paths
from tests.adapters.test_release import SNAPSHOT, make_domain, put_snapshot

OPS = Cause("ops", "tried it")
GATE = GateSettings()
DEMAND = Demand(GATE)


@pytest.fixture
def gated(tmp_path: Path) -> Domain:
    return make_domain(tmp_path, gate=GATE)


@pytest.fixture
def store(paths: Paths, gated: Domain) -> ReleaseStore:
    """Release 1 is live, 2 waits."""
    put_snapshot(paths)
    made = ReleaseStore(paths)
    made.create(gated, snapshot=SNAPSHOT)
    made.create(gated, activate=False)
    return made


def write_report(store: ReleaseStore, release: int = 2, against: int = 1, **changes: Any) -> None:
    reports = GateReports(store.paths, "support")
    check = GateCheck(
        name="general",
        passed=changes.get("passed", True),
        measured=-0.2,
        bound=-0.05,
        cases=60,
        said="general: 0.200 worse, 0.050 is allowed",
    )
    told = {
        "domain": "support",
        "release": release,
        "against": against,
        "release_digest": reports.release_digest(release),
        "against_digest": reports.release_digest(against),
        "settings": GATE,
        "questions": {"domain": "d"},
        "answers": 120,
        "made": datetime.now(UTC),
        "passed": True,
        "checks": (check,),
        **changes,
    }
    reports.write(GateReport(**told).sealed())


def test_a_domain_without_the_table_demands_nothing(tmp_path: Path) -> None:
    assert demand_of(make_domain(tmp_path)) is None
    assert demand_of(make_domain(tmp_path, gate=GateSettings(required=False))) is None
    assert demand_of(make_domain(tmp_path, gate=GATE)) == DEMAND


def test_the_table_stands_in_the_domains_file(tmp_path: Path) -> None:
    toml = 'name = "support"\n[gate]\ndomain = "non-inferior"\ngeneral_margin = 0.1\n'
    (tmp_path / "domain.toml").write_text(toml, encoding="utf-8")
    domain = load_domain(tmp_path)
    assert domain.is_gated
    assert (domain.gate.domain, domain.gate.general_margin) == ("non-inferior", 0.1)
    (tmp_path / "domain.toml").write_text(toml.replace("_margin", ""), encoding="utf-8")
    with pytest.raises(BadInput, match=r"unknown key `gate.general`"):
        load_domain(tmp_path)


def test_a_release_that_nobody_measured_is_refused_and_nothing_changes(store: ReleaseStore) -> None:
    with pytest.raises(NotGated, match="no gate report against release 1") as refused:
        store.activate("support", 2, OPS, DEMAND)
    assert "dslm eval gate support@2 --against support@1" in refused.value.remedy
    assert refused.value.exit_code == 7
    live = store.live("support")
    assert live is not None
    assert live.number == 1
    entries, _ = store.audit("support").read()
    assert [one.action for one in entries] == ["create", "activate", "create"]


def test_a_passing_report_lets_it_answer_and_the_audit_names_it(store: ReleaseStore) -> None:
    write_report(store)
    assert store.activate("support", 2, OPS, DEMAND).number == 2
    report = GateReports(store.paths, "support").read(2, 1)
    assert report is not None
    assert store.audit("support").read()[0][-1].more == {"gate": report.digest}
    assert store.rollback("support", OPS).number == 1, "the way back is never barred"


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"passed": False}, "did not pass the gate: general: 0.200 worse, 0.050 is allowed"),
        ({"settings": GateSettings(latency=9.0)}, "by other thresholds"),
        ({"release_digest": "0"}, "about other releases"),
        ({"against_digest": "0"}, "about other releases"),
    ],
)
def test_a_report_that_is_not_exactly_about_this_does_not_count(
    store: ReleaseStore, changes: dict[str, Any], said: str
) -> None:
    write_report(store, **changes)
    with pytest.raises(NotGated, match=said):
        store.activate("support", 2, OPS, DEMAND)


def test_a_report_against_what_is_no_longer_live_does_not_count(
    store: ReleaseStore, gated: Domain
) -> None:
    write_report(store)
    third = store.create(gated, activate=False).number
    write_report(store, third, 1)
    store.activate("support", third, OPS, DEMAND)
    with pytest.raises(NotGated, match=f"no gate report against release {third}"):
        store.activate("support", 2, OPS, DEMAND)


def test_a_report_that_was_changed_does_not_count(store: ReleaseStore) -> None:
    write_report(store, passed=False)
    reports = GateReports(store.paths, "support")
    file = reports.file(2, 1)
    content = file.read_text("utf-8").replace('"passed": false', '"passed": true')
    file.write_text(content, encoding="utf-8")
    with pytest.raises(StoreError, match="not as it was written"):
        reports.read(2, 1)
    with pytest.raises(NotGated, match="no gate report that can be read"):
        store.activate("support", 2, OPS, DEMAND)
    assert store.activate("support", 2, OPS, Demand(GATE, forced=True)).number == 2


def test_force_lets_it_answer_and_is_audited_with_what_was_missing(store: ReleaseStore) -> None:
    write_report(store, passed=False)
    store.activate("support", 2, OPS, Demand(GATE, forced=True))
    entry = store.audit("support").read()[0][-1]
    assert (entry.action, entry.who, entry.why) == ("activate", "ops", "tried it")
    assert entry.more["forced"] is True
    assert entry.more["gate"].startswith("did not pass the gate: general")
    with pytest.raises(BadInput, match="needs its reason"):
        reasoned(True, "  ")


def test_a_canary_is_promoted_by_the_same_rule(store: ReleaseStore) -> None:
    set_canary(store, "support", Canary(release=2, share=0.5), OPS)
    with pytest.raises(NotGated):
        store.promote("support", OPS, demand=DEMAND)
    assert store.traffic("support").canary is not None
    write_report(store)
    assert store.promote("support", OPS, demand=DEMAND).number == 2


def test_no_release_answers_as_soon_as_it_is_made_but_the_first(
    store: ReleaseStore, gated: Domain
) -> None:
    with pytest.raises(NotGated, match="no release answers as soon as it is made"):
        store.create(gated)
    assert store.numbers("support") == [1, 2], "nothing was made"


def test_the_live_release_may_be_activated_again(store: ReleaseStore) -> None:
    assert store.activate("support", 1, OPS, DEMAND).number == 1
