"""The command `dslm eval gate`: may a release take the place of the live one?"""

import json
import os
import sys
from typing import TYPE_CHECKING, Annotated

import typer

from adapters.command_line import workplace
from eval.study.commands import embed
from indexer.errors import BadInput, NotFound

if TYPE_CHECKING:
    from adapters.gating import GateReport
    from adapters.release import ReleaseStore
    from eval.gate.measure import Gate, Pair
    from indexer.domain import Domain

KEY = "DSLM_KEY"
EXAMPLES = (
    "eval gate support@5",
    "eval gate support@5 --against support@4 --dry-run",
)


def gate(
    context: typer.Context,
    release: Annotated[str, typer.Argument(help="domain@number, one that waits")],
    against: Annotated[str | None, typer.Option(help="domain@number; else the live one")] = None,
    url: Annotated[str | None, typer.Option(help="the service")] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="say how much would be asked, and ask nothing")
    ] = False,
    again: Annotated[bool, typer.Option("--again", help="ask everything anew")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="print the report as JSON")] = False,
) -> None:
    """Measure a release against the live one on the questions of its domain's gate.

    What was asked already is not asked again. Exit code 0: it passed, and may be activated; 1: it
    did not, and what failed is said; 6: the service refused questions, so nothing is decided.
    """
    from adapters.release import ReleaseStore
    from eval.gate.measure import open_gate, plan, run_gate

    place = workplace(context)
    store = ReleaseStore(place.paths)
    domain = place.domain(release.partition("@")[0])
    pair = _pair(store, domain, release, against)
    opened = open_gate(store, pair, again=again, key_env=KEY if KEY in os.environ else None)
    counts = plan(opened, embed)
    told = ", ".join(f"{count} {name}" for name, count in counts.items())
    typer.echo(f"{pair.models[0]} against {pair.models[1]}: {told} answers", err=True)
    if dry_run:
        return
    report, refused = run_gate(store, opened, url or place.url, embed)
    if report is None:
        typer.echo(f"{refused} questions were refused; the same command asks them again", err=True)
        sys.exit(6)
    _tell(opened, report, as_json=as_json)
    sys.exit(0 if report.passed else 1)


def _pair(store: "ReleaseStore", domain: "Domain", release: str, against: str | None) -> "Pair":
    from eval.gate.measure import Pair

    if "gate" not in domain.model_fields_set:
        raise BadInput(f"{domain.name} has no gate", "Give its domain.toml a table `[gate]`")
    number = _number(domain.name, release)
    if against is not None:
        return Pair(domain, number, _number(domain.name, against))
    live = store.live(domain.name)
    if live is None:
        raise NotFound(f"{domain.name} has no live release", f"Run `dslm index {domain.name}`")
    return Pair(domain, number, live.number)


def _number(domain: str, release: str) -> int:
    name, _, number = release.partition("@")
    if name != domain or not number.isdecimal() or int(number) < 1:
        raise BadInput(f"`{release}` names no release of {domain}", f"Write {domain}@5")
    return int(number)


def _tell(gate: "Gate", report: "GateReport", *, as_json: bool) -> None:
    from eval.gate.report import written
    from indexer.settings import write_atomically

    text = written(report)
    write_atomically(gate.folder / "report.md", text.encode())
    typer.echo(json.dumps(report.model_dump(mode="json"), indent=2) if as_json else text)
