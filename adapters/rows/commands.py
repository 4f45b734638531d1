"""The commands `dslm data`: check examples, and prepare training rows from them."""

import json
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from adapters.command_line import Workplace, examples, group, workplace
from adapters.rows.teaching import commands as teaching

if TYPE_CHECKING:
    from adapters.rows.example import Example, Fault
    from adapters.rows.facts import LengthFacts
    from adapters.rows.pool import PoolSettings
    from adapters.rows.prepare import Prepared

data_app = group("Training rows: check examples, have them answered or written, prepare them.")
teaching.register(data_app)

SHOWN = 20
Files = Annotated[list[Path], typer.Argument(help="JSON lines, or .txt and .md for plain text")]
Against = Annotated[
    list[Path] | None, typer.Option(help="an evaluation set: what it asks is never learned")
]
Near = Annotated[float, typer.Option(help="similarity from which two examples are one; 1: equal")]
Domain = Annotated[
    str | None, typer.Option(help="whose system text and prompt format lengths are counted with")
]
Mask = Annotated[bool, typer.Option(help="replace personal data by its kind, as <EMAIL>")]
Lengths = Annotated[bool, typer.Option(help="count tokens with the base's tokenizer")]
AsJson = Annotated[bool, typer.Option("--json", help="one JSON object and nothing else")]


@data_app.command(
    "check", epilog=examples("data check my.jsonl", "data check my.jsonl --against test.jsonl")
)
def check(
    context: typer.Context,
    files: Files,
    against: Against = None,
    domain: Domain = None,
    near: Near = 0.8,
    mask: Mask = True,
    count: Lengths = True,
    as_json: AsJson = False,
) -> None:
    """Say what is wrong with examples, row by row, and what they are like; writes nothing.

    Exit code 1 where a row would be left out.
    """
    from adapters.rows.prepare import PrepareSettings, prepare
    from adapters.rows.splits import Shares

    wanted = PrepareSettings(
        tuple(files), against=tuple(against or ()), shares=Shares(0, 0), pool=_pool(near, mask)
    )
    found = prepare(wanted)
    tokens = _lengths(workplace(context), domain, found.splits["train"]) if count else None
    _tell(found.facts, tokens, found.faults, as_json=as_json)
    if found.faults:
        sys.exit(1)


@data_app.command(
    "prepare",
    epilog=examples(
        "data prepare my.jsonl --out rows",
        "data prepare my.jsonl --test held.jsonl --general chat.jsonl --share 0.8 --out rows",
    ),
)
def prepare_rows(
    context: typer.Context,
    files: Files,
    out: Annotated[Path, typer.Option(help="a new folder for the rows and their manifest")],
    validation: Annotated[
        list[Path] | None, typer.Option(help="a split that is there already")
    ] = None,
    test: Annotated[list[Path] | None, typer.Option(help="a split that is there already")] = None,
    against: Against = None,
    general: Annotated[
        list[Path] | None, typer.Option(help="rows of no domain, mixed in against forgetting")
    ] = None,
    share: Annotated[float, typer.Option(help="of the training rows that are the domain's")] = 0.8,
    validation_share: Annotated[float, typer.Option(help="of all rows")] = 0.05,
    test_share: Annotated[float, typer.Option(help="of all rows")] = 0.05,
    domain: Domain = None,
    near: Near = 0.8,
    mask: Mask = True,
    count: Lengths = True,
    seed: Annotated[int, typer.Option(help="who goes where: same seed, same splits")] = 0,
    as_json: AsJson = False,
) -> None:
    """Clean examples, split them without leaks, mix in general ones, and write training rows.

    What is left out stands in rejected.jsonl with its reason; manifest.json holds every digest.
    """
    from adapters.rows.prepare import PrepareSettings, prepare, write
    from adapters.rows.splits import Shares

    wanted = PrepareSettings(
        rows=tuple(files),
        validation=tuple(validation or ()),
        test=tuple(test or ()),
        against=tuple(against or ()),
        general=tuple(general or ()),
        share=share,
        shares=Shares(validation_share, test_share),
        pool=_pool(near, mask),
        seed=seed,
    )
    found = prepare(wanted)
    facts = write(found, out)
    tokens = _lengths(workplace(context), domain, found.splits["train"]) if count else None
    _tell(facts, tokens, found.faults, as_json=as_json)


def _pool(near: float, mask: bool) -> "PoolSettings":
    from adapters.rows.pool import PoolSettings
    from indexer.text.masking import KINDS

    return PoolSettings(near, tuple(KINDS) if mask else ())


def _lengths(place: Workplace, domain: str | None, rows: "list[Example]") -> "LengthFacts | None":
    from adapters.base import BaseProfile
    from adapters.rows.facts import lengths
    from adapters.rows.lengths import token_counter

    base = BaseProfile.read(place.base)
    answer = place.domain(domain).answer if domain else None
    return lengths(rows, token_counter(base, answer), base.context)


def _tell(
    facts: "Prepared",
    tokens: "LengthFacts | None",
    faults: "Iterable[Fault]",
    *,
    as_json: bool,
) -> None:
    """The table goes to stdout, what was left out to stderr, so that either can be kept."""
    if as_json:
        lengths = tokens.model_dump() if tokens else None
        typer.echo(json.dumps({**facts.model_dump(), "lengths": lengths}, ensure_ascii=False))
        return
    left = list(faults)
    for fault in left[:SHOWN]:
        typer.echo(f"{fault.place}: {fault.kind}: {fault.reason}", err=True)
    if len(left) > SHOWN:
        typer.echo(f"and {len(left) - SHOWN} more", err=True)
    for name, said in _table(facts, tokens):
        typer.echo(f"{name:<12} {said}")


def _table(facts: "Prepared", tokens: "LengthFacts | None") -> Iterable[tuple[str, str]]:
    yield "rows", _counts(facts.rows)
    yield "kinds", _counts(facts.kinds)
    yield "left out", _counts(facts.rejected) or "none"
    yield "masked", _counts(facts.masked) or "nothing"
    yield "languages", _counts(facts.languages)
    if facts.labels:
        (rare, few), (common, many) = facts.labels.rarest, facts.labels.commonest
        yield "labels", f"{facts.labels.labels}, from {few} x {rare!r} to {many} x {common!r}"
    if facts.synthetic:
        yield "synthetic", str(facts.synthetic)
    yield "domain", f"{facts.domain_share:.1%} of the training rows"
    if tokens:
        over = f", {tokens.over} over the context of {tokens.limit}" if tokens.over else ""
        yield "tokens", f"median {tokens.median}, p95 {tokens.p95}, longest {tokens.longest}{over}"


def _counts(counts: dict[str, int]) -> str:
    ranked = sorted(counts.items(), key=lambda pair: -pair[1])
    return ", ".join(f"{count} {name}" for name, count in ranked if count)
