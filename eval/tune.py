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
from eval.tune_propose import (
    FEWEST_UNANSWERABLE,
    Best,
    Calibration,
    Comparison,
    Threshold,
    calibrate,
    changes,
    choose,
    compare,
    too_few,
)
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
    calibration: Calibration | None = None
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
    tuning.calibration, why = _calibrate(lookup, cases, proposed)
    tuning.reasons.append(why)
    if tuning.calibration and tuning.calibration.better:
        value = tuning.calibration.best.value
        proposed = proposed.model_copy(update={"min_passage_score": value})
    tuning.changed = changes(present, proposed)
    return tuning


def _verdict(chosen: Comparison | None) -> str:
    if chosen is None:
        return "keep the present ranking: nothing is significantly better"
    return f"better than the present ranking: {chosen.measured.name} (p = {chosen.p:.3f})"


def _calibrate(
    lookup: Lookup, cases: Cases, settings: RetrievalSettings
) -> tuple[Calibration | None, str]:
    """Where to refuse, and what to say about it."""
    kinds = (cases.measured + cases.others, cases.unanswerable, cases.strays)
    answerable, refusable = len(kinds[0]), len(kinds[1]) + len(kinds[2])
    if min(answerable, refusable) < FEWEST_UNANSWERABLE:
        few = f"{answerable} answerable and {refusable} unanswerable questions"
        return None, f"keep min_passage_score: {few} are too few, {FEWEST_UNANSWERABLE} of each"
    scores = [_best_cosines(lookup, [case.text for case in kind], settings) for kind in kinds]
    found = calibrate(Best(*map(tuple, scores)), settings.min_passage_score)
    if found.better:
        return found, f"better than the present min_passage_score: (p = {found.p:.3f})"
    return found, f"keep min_passage_score: no other is significantly better (p = {found.p:.2f})"


def _best_cosines(lookup: Lookup, texts: Sequence[str], settings: RetrievalSettings) -> list[float]:
    """For each question what decides whether anything counts as found.

    It is a cosine in every mode, of any candidate: what fusion or a cross-encoder makes of the
    order has no scale that two questions share.
    """
    depth = settings.passages
    if settings.mode == "hybrid" or settings.rerank or settings.diversity:
        depth = max(depth, settings.candidates)
    plain = {"rerank": None, "diversity": 0.0, "neighbours": 0, "passages": depth}
    everything = settings.model_copy(update={**plain, "min_passage_score": -1.0})
    return [
        max((hit.passage.score for hit in lookup.retriever.search(one, everything)), default=-1.0)
        for one in (lookup.ask(texts) if texts else ())
    ]


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
    if tuning.calibration:
        show(console, _threshold_grid(tuning.calibration))
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


def _threshold_grid(found: Calibration) -> Grid:
    head = (
        "min_passage_score",
        "value",
        "answerable, refused",
        "own unanswerable, answered",
        "of other domains, answered",
    )
    named = {found.best.value: "best", found.present.value: "present"}
    every = {one.value: one for one in (*found.others, found.best, found.present)}
    rows = [
        (named.get(value, ""), f"{value:.2f}", *_shares(every[value])) for value in sorted(every)
    ]
    return Grid("Where to refuse: the least cosine of the best passage", head, tuple(rows))


def _shares(one: Threshold) -> tuple[str, ...]:
    kept = [
        Share(total - refused, total)
        for refused, total in (one.refused_unanswerable, one.refused_strays)
    ]
    return tuple(map(str, (Share(*one.refused_answerable), *kept)))
