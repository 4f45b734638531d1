"""A gate report for people, as Markdown: every rule, what was measured, and what it must keep."""

from __future__ import annotations

from adapters.gating import GateCheck, GateReport
from eval.report import Grid, markdown

_HEAD = ("rule", "", "measured", "sure bounds", "must keep", "questions")
_RATIOS = ("latency", "cost")


def written(report: GateReport) -> str:
    """The whole report."""
    name, live = f"{report.domain}@{report.release}", f"{report.domain}@{report.against}"
    state = "passed" if report.passed else "is refused"
    failed = [f"- {check.said}" for check in report.checks if not check.passed]
    grid = Grid(f"{name} against {live}", _HEAD, tuple(map(_row, report.checks)))
    parts = [
        f"# {name} {state}",
        *(["What failed:\n" + "\n".join(failed)] if failed else []),
        markdown(grid).rstrip(),
        f"{report.answers} answers, {report.settings.confidence:.0%} one-sided confidence, made"
        f" {report.made:%Y-%m-%d %H:%M} UTC. Report `{report.digest[:12]}`.",
    ]
    return "\n\n".join(parts) + "\n"


def _row(check: GateCheck) -> tuple[str, ...]:
    is_ratio = check.name in _RATIOS
    show = "{:.2f}" if is_ratio else "{:+.3f}"
    sure = "-"
    if check.low is not None and check.high is not None:
        sure = f"{show.format(check.low)} to {show.format(check.high)}"
    sign = "at most" if is_ratio else "at least" if check.low is None else "above"
    return (
        check.name,
        "passed" if check.passed else "failed",
        show.format(check.measured),
        sure,
        f"{sign} {show.format(check.bound)}",
        str(check.cases),
    )
