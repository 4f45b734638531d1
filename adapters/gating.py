"""What the gate found of a release against the live one, kept in the store; activation looks here.

`dslm eval gate` measures and writes a report; a domain with a `[gate]` table lets only those
releases answer that have a passing one, against the very release that answers now.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, Final, Literal

from adapters.audit import this_user
from adapters.errors import NotGated
from adapters.lifecycle import Lifecycle
from adapters.manifest import Pinned, read_pinned, to_json
from adapters.pins import Release
from indexer.domain import Domain, GateSettings
from indexer.errors import BadInput, StoreError
from indexer.settings import Paths, store_errors, write_atomically

FOLDER: Final = "gate"


class GateCheck(Pinned):
    """One rule of the gate: what was `measured`, the `bound` it must keep, and how sure that is.

    `low` and `high` are the confidence bounds of `measured` where it has any; `said` is for people.
    """

    name: str
    passed: bool
    measured: float
    low: float | None = None
    high: float | None = None
    bound: float
    cases: int
    said: str


class GateReport(Pinned):
    """Written once the gate has asked everything. `questions`: digests of what was asked, by set.

    `digest` is of all the rest: it names the report in the audit and shows a damaged file. Who can
    write the store can also write reports; it is no signature.
    """

    version: Literal[1] = 1
    domain: str
    release: int
    against: int
    release_digest: str
    against_digest: str
    settings: GateSettings
    questions: dict[str, str]
    answers: int
    made: datetime
    passed: bool
    checks: tuple[GateCheck, ...]
    digest: str = ""

    def sealed(self) -> GateReport:
        """With its digest."""
        return self.model_copy(update={"digest": self.content_digest()})

    def content_digest(self) -> str:
        """sha256 of everything but the digest."""
        told = self.model_dump(mode="json", exclude={"digest"})
        return hashlib.sha256(json.dumps(told, sort_keys=True).encode()).hexdigest()


@dataclass(frozen=True, slots=True)
class Demand:
    """What a domain demands of a release that is to answer; `forced`: it answers all the same."""

    settings: GateSettings
    forced: bool = False


def demand_of(domain: Domain, *, forced: bool = False) -> Demand | None:
    """None for a domain without a gate."""
    return Demand(domain.gate, forced) if domain.is_gated else None


def reasoned(force: bool, why: str) -> bool:
    """`force`; BadInput where it comes without a reason that the audit could keep."""
    if force and not why.strip():
        raise BadInput("A force needs its reason", "Say why, for the audit")
    return force


class GateReports:
    """One domain's reports, a file for each pair of releases; a new one replaces the old."""

    def __init__(self, paths: Paths, domain: str) -> None:
        self._paths = paths
        self._domain = domain
        self.folder = paths.domain(domain) / FOLDER

    def file(self, release: int, against: int) -> Path:
        return self.folder / f"{release}-against-{against}.json"

    def answers(self, release: int, against: int) -> Path:
        """Where every answer of this pair is kept."""
        return self.folder / f"{release}-against-{against}"

    def release_digest(self, number: int) -> str:
        """Of the release's own file, which is written once."""
        path = self._paths.releases(self._domain) / f"{number}.json"
        with store_errors(path):
            return hashlib.sha256(path.read_bytes()).hexdigest()

    def write(self, report: GateReport) -> None:
        """Durably; what passed stands in the record of its adapter version."""
        write_atomically(self.file(report.release, report.against), to_json(report))
        if report.passed:
            path = self._paths.releases(self._domain) / f"{report.release}.json"
            release = read_pinned(path, Release)
            why = f"against release {report.against}"
            Lifecycle(self._paths).passed(release.adapter, release, report.digest, this_user(why))

    def read(self, release: int, against: int) -> GateReport | None:
        """None where there is none; StoreError where its digest is not its content's."""
        path = self.file(release, against)
        if not path.exists():
            return None
        report = read_pinned(path, GateReport)
        if report.digest != report.content_digest():
            raise StoreError(f"{path} is not as it was written", "Run `dslm eval gate` again")
        return report

    def objection(self, release: int, against: int, settings: GateSettings) -> str:
        """Why `release` may not take the place of `against`; "" if it may."""
        report = self.read(release, against)
        if report is None:
            return f"has no gate report against release {against}, which is live"
        found = report.release_digest, report.against_digest
        if found != (self.release_digest(release), self.release_digest(against)):
            return "has a gate report about other releases of these numbers"
        if report.settings != settings:
            return "has a gate report by other thresholds than the domain's today"
        if not report.passed:
            failed = "; ".join(check.said for check in report.checks if not check.passed)
            return f"did not pass the gate: {failed}"
        return ""


def check_demand(
    paths: Paths, domain: str, number: int, live: int | None, demand: Demand | None
) -> dict[str, Any]:
    """What the audit is to say of the gate; NotGated where the release may not answer.

    The first release of a domain has nothing to be measured against and may.
    """
    if demand is None or live is None or live == number:
        return {}
    reports = GateReports(paths, domain)
    why_not = _objection(reports, number, live, demand)
    if not why_not:
        found = reports.read(number, live)
        return {"gate": found.digest if found else ""}
    if demand.forced:
        return {"forced": True, "gate": why_not}
    raise NotGated(f"Release {number} of {domain} {why_not}", remedy(domain, number, live))


def _objection(reports: GateReports, number: int, live: int, demand: Demand) -> str:
    """A damaged report must not stand in the way of force."""
    try:
        return reports.objection(number, live, demand.settings)
    except StoreError as error:
        return f"has no gate report that can be read: {error.message}"


def refuse_unmeasured(domain: Domain, live: int | None) -> None:
    """NotGated for a release that is to answer as soon as it is made: nobody has measured it."""
    if domain.is_gated and live is not None:
        raise NotGated(
            f"{domain.name} demands a gate, so no release answers as soon as it is made",
            f"Make it without activating it, then run `dslm eval gate {domain.name}@N`",
        )


def remedy(domain: str, number: int, live: int) -> str:
    return (
        f"Run `dslm eval gate {domain}@{number} --against {domain}@{live}`,"
        " or force it with a reason, which is audited"
    )
