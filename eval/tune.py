"""`dslm tune`: which way of retrieval suits a domain, measured on its own questions.

Asks the live snapshot directly. Nothing is assumed best, and nothing is proposed that the numbers
do not show.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

import typer
from rich.console import Console

from adapters.lookup import Lookup, open_lookup
from adapters.release import Release
from eval.progress import say
from eval.report import Grid, show
from eval.stats import Share, mean_interval
from eval.tune_cases import Cases, gather
from eval.tune_labels import LabelVote, vote
from eval.tune_measure import Measured, measure_all
from eval.tune_propose import Comparison, changes, choose, compare, too_few
from eval.tune_refusing import Refusal, refusals, threshold_grid
from eval.tune_write import SECTION, toml_lines, write_settings
from indexer.domain import FILE_NAME, Domain, RetrievalSettings
from indexer.errors import BadInput
from indexer.settings import Paths


@dataclass(slots=True)
class Tuning:
    """What was measured and what follows from it."""

    release: Release
    cases: Cases
    measured: list[Measured] = field(default_factory=list)
    compared: list[Comparison] = field(default_factory=list)
    votes: list[LabelVote] = field(default_factory=list)
    refusals: list[Refusal] = field(default_factory=list)
    changed: dict[str, object] = field(default_factory=dict)
    reasons: list[str] = field(default_factory=list)


def tune(domain: Domain, paths: Paths, release: Release, write: bool) -> None:
    """Measure, print, and put the better settings into domain.toml if asked to."""
    with open_lookup(paths, release) as lookup:
        tuning = examine(domain, lookup)
    _show(tuning)
    if domain.retrieval != release.retrieval:
        say(f"note: [{SECTION}] of {FILE_NAME} is not what release {release.number} has")
    if not tuning.changed:
        return
    typer.echo(f"\n{toml_lines(tuning.changed)}")
    file = domain.folder / FILE_NAME
    if write:
        write_settings(file, tuning.changed)
        typer.echo(f"\nwritten to {file}; `dslm index {domain.name}` releases it")
    else:
        typer.echo(f"\n`dslm tune {domain.name} --write` puts this into {file}")


def examine(domain: Domain, lookup: Lookup) -> Tuning:
    """Everything that is measured, without a word to anybody."""
    cases = gather(domain, lookup.retriever)
    tuning = Tuning(lookup.release, cases)
    present = lookup.release.retrieval
    if not present.passages:
        raise BadInput(
            f"{domain.name} looks up no passages", f"Set `{SECTION}.passages` in its {FILE_NAME}"
        )
    if cases.measured:
        asked = lookup.ask([case.text for case in cases.measured])
        tuning.measured = measure_all(lookup, cases.measured, asked, present)
        tuning.compared = compare(tuning.measured)
    tuning.votes = vote(lookup)
    reason = too_few(len(cases.measured))
    chosen = None if reason else choose(tuning.compared)
    proposed = chosen.measured.settings if chosen else present
    tuning.reasons.append(reason or _verdict(chosen))
    tuning.refusals = refusals(lookup, cases, proposed)
    for one in tuning.refusals:
        tuning.reasons.append(one.verdict)
        if one.calibration and one.calibration.better:
            proposed = proposed.model_copy(update={one.key: one.calibration.best.value})
    tuning.changed = changes(present, proposed)
    return tuning


def _verdict(chosen: Comparison | None) -> str:
    if chosen is None:
        return "keep the present ranking: nothing is significantly better"
    return f"better than the present ranking: {chosen.measured.name} (p = {chosen.p:.3f})"


def _show(tuning: Tuning) -> None:
    console = Console()
    console = console if console.is_terminal else Console(width=160)
    release, cases = tuning.release, tuning.cases
    typer.echo(
        f"{release.domain} release {release.number}, snapshot {release.snapshot}: "
        f"{len(cases.measured)} questions with a known answer in the documents, "
        f"{len(cases.others)} whose place is not known, {len(cases.unanswerable)} unanswerable, "
        f"{len(cases.strays)} of other domains"
    )
    if tuning.measured:
        show(console, _passage_grid(tuning))
    if tuning.votes:
        show(console, _label_grid(tuning.votes))
    for one in tuning.refusals:
        if one.calibration:
            show(console, threshold_grid(one.key, one.calibration))
    for reason in tuning.reasons:
        typer.echo(reason)


def _passage_grid(tuning: Tuning) -> Grid:
    head = ("retrieval", "k", "recall@k (95 %)", "MRR (95 %)", "p50 ms", "characters", "p")
    p_values = ["-", *(f"{one.p:.3f}" for one in tuning.compared)]
    rows = [_row(one, p) for one, p in zip(tuning.measured, p_values, strict=True)]
    title = "Is the answer among the passages? p: against the present settings, paired, corrected"
    return Grid(title, head, tuple(rows))


def _row(one: Measured, p: str) -> tuple[str, ...]:
    low, high = mean_interval(one.ranks)
    settings = one.settings
    name = f"present: {_named(settings)}" if one.name == "present" else one.name
    return (
        name,
        str(settings.passages),
        str(Share.of(one.found)),
        f"{sum(one.ranks) / len(one.ranks):.3f} ({max(low, 0):.2f} to {min(high, 1):.2f})",
        f"{one.milliseconds:.2f}",
        f"{one.characters:.0f}",
        p,
    )


def _named(settings: RetrievalSettings) -> str:
    parts: list[str] = [settings.mode, *([settings.fusion] if settings.mode == "hybrid" else [])]
    parts += [f"rerank {settings.rerank}"] if settings.rerank else []
    parts += [f"diversity {settings.diversity}"] if settings.diversity else []
    parts += [f"neighbours {settings.neighbours}"] if settings.neighbours else []
    return ", ".join(parts)


def _label_grid(votes: Sequence[LabelVote]) -> Grid:
    head = ("demonstrations", "right answer among them (95 %)", "and the most frequent (95 %)")
    rows = [(str(one.demonstrations), str(one.among), str(one.voted)) for one in votes]
    return Grid("Solved examples with shared answers, each left out in turn", head, tuple(rows))
