"""What the gate measured of an adapter version, read from the reports on releases that had it."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping

from adapters.gating import FOLDER, GateReport
from adapters.lifecycle import Lifecycle
from adapters.manifest import read_pinned
from adapters.uses import uses
from indexer.errors import StoreError
from indexer.settings import Paths


def scores(paths: Paths, digest: str) -> Mapping[str, float]:
    """By domain and check, passed or not; of several reports the newest says it.

    Reports that are gone or damaged say nothing.
    """
    found: dict[str, float] = {}
    for report in sorted(_reports(paths, digest), key=lambda report: report.made):
        for check in report.checks:
            found[f"{report.domain}: {check.name}"] = check.measured
    return found


def _reports(paths: Paths, digest: str) -> Iterator[GateReport]:
    pairs = {(use.domain, use.release) for use in uses(paths).get(digest, ())}
    events = Lifecycle(paths).events(digest)
    pairs |= {(event.domain, event.release) for event in events if event.release and event.report}
    for domain, release in sorted(pairs):
        for path in (paths.domain(domain) / FOLDER).glob(f"{release}-against-*.json"):
            with contextlib.suppress(StoreError):
                report = read_pinned(path, GateReport)
                if report.digest == report.content_digest():
                    yield report
