"""The commands `dslm eval canary` and `dslm eval mirror`: releases told by real traffic."""

import asyncio
import json
import math
import os
import sys
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated

import typer

from adapters.command_line import DomainName, examples, releases

if TYPE_CHECKING:
    from eval.canary.pairs import Judged
    from eval.canary.traffic import Compared, Watch

CANARY_EXAMPLES = examples("eval canary support", "eval canary support --json")
MIRROR_EXAMPLES = examples(
    "eval mirror support",
    "eval mirror support --judge-url https://models.example --judge big --limit 100",
)
AsJson = Annotated[bool, typer.Option("--json", help="as JSON")]


def canary(context: typer.Context, domain: DomainName, as_json: AsJson = False) -> None:
    """Compare the canary with the live release by what callers got since it began.

    Refusals, seconds and thumbs, by a sequential test: look as often as you like. Exit code 1 where
    the canary is surely worse in one of them.
    """
    from eval.canary.traffic import compare_traffic, watch

    store, name = releases(context, domain)
    seen = watch(store, name)
    found = compare_traffic(store, seen)
    if as_json:
        told = [{**asdict(one), "measure": one.measure.name} for one in found]
        typer.echo(json.dumps(_finite({**asdict(seen), "measures": told}), default=str, indent=2))
    else:
        _show(seen, found)
    sys.exit(int(any(one.says == "worse" for one in found)))


def mirror(
    context: typer.Context,
    domain: DomainName,
    judge_url: Annotated[str | None, typer.Option(help="an OpenAI endpoint that judges")] = None,
    judge: Annotated[str, typer.Option(help="its model")] = "",
    key_env: Annotated[str | None, typer.Option(help="variable that holds its key")] = None,
    limit: Annotated[int, typer.Option(min=1, help="newest pairs that differ, at most")] = 200,
    as_json: AsJson = False,
) -> None:
    """Compare what the mirror said with what callers got: how alike, and which a judge prefers.

    A judge is asked about each pair twice, in both orders; it gets the texts that are kept.
    """
    from adapters.mirrored import Mirrored
    from eval.canary.pairs import Judge, judge_pairs, likeness, newest
    from indexer.errors import BadInput

    if (judge_url is None) == bool(judge):
        raise BadInput("--judge-url and --judge go together", "Give both, or neither")
    store, name = releases(context, domain)
    kept = [one for one in Mirrored(store.paths, name).read() if one]
    if not kept:
        raise BadInput(f"{name} has no mirrored answers", f"Run `dslm release mirror {name} N`")
    told = likeness(kept)
    judged = None
    if judge_url:
        key = os.environ.get(key_env) if key_env else None
        asked = newest(kept, limit)
        judged = asyncio.run(judge_pairs(asked, Judge(judge_url, judge, key)))
    if as_json:
        more = asdict(judged) if judged else None
        typer.echo(json.dumps({**asdict(told), "judged": more}, indent=2))
        return
    typer.echo(
        f"{told.pairs} pairs of releases {told.live} and {told.mirror}: {told.same} the same,"
        f" {told.failed} failed; {told.likeness:.2f} of the words in common where they differ;"
        f" {told.ratio:.2f} times as long to answer"
    )
    if judged:
        _show_judged(judged)


def _show(seen: "Watch", found: "list[Compared]") -> None:
    typer.echo(
        f"{seen.domain}: canary {seen.canary} against live {seen.live},"
        f" since {seen.since:%Y-%m-%d %H:%M} UTC"
    )
    for one in found:
        sides = f"{one.canary.count} and {one.live.count} callers"
        verdict = one.verdict
        if math.isinf(verdict.high):
            typer.echo(f"{one.measure.name:<10} {sides}: too few to tell")
            continue
        values = (verdict.difference, verdict.low, verdict.high)
        if one.measure.is_log:
            told = "{:.2f} times ({:.2f} to {:.2f})".format(*map(math.exp, values))
        else:
            told = "{:+.3f} ({:+.3f} to {:+.3f})".format(*values)
        says = f"surely {one.says}" if one.says else "not decided"
        typer.echo(f"{one.measure.name:<10} {told}, {sides}, p {verdict.p:.3g}: {says}")


def _show_judged(judged: "Judged") -> None:
    typer.echo(
        f"judged: {judged.mirror} for the mirror, {judged.live} for the live one, {judged.tied}"
        f" undecided, {judged.failed} without a verdict; p {judged.p:.3g}:"
        f" {judged.winner or 'no winner'}"
    )


def _finite(told: object) -> object:
    """JSON has no infinity: null."""
    if isinstance(told, dict):
        return {key: _finite(value) for key, value in told.items()}
    if isinstance(told, list):
        return [_finite(value) for value in told]
    return None if isinstance(told, float) and math.isinf(told) else told
