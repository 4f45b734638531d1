"""The commands `dslm release` about a part of the traffic, the audit and what is old."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from adapters.command_line import DomainName, examples, releases
from adapters.release_commands import Force, Why, demanded
from adapters.release_commands import release_app as release_app
from indexer.errors import BadInput

if TYPE_CHECKING:
    from adapters.mirrored import Comparison
    from adapters.release import ReleaseStore

ToTry = Annotated[int | None, typer.Argument(min=1, help="the release's number; none: say what is")]
Share = Annotated[float, typer.Option(help="above 0, at most 1")]


@release_app.command(
    "canary",
    epilog=examples(
        "release canary support 5 --share 0.1",
        "release canary support --promote",
        "release canary support --drop --why 'worse on refunds'",
    ),
)
def canary(
    context: typer.Context,
    domain: DomainName,
    number: ToTry = None,
    share: Share = 0.1,
    promote: Annotated[bool, typer.Option("--promote", help="let it answer everything")] = False,
    drop: Annotated[bool, typer.Option("--drop", help="let the live one answer all")] = False,
    why: Why = "",
    force: Force = False,
) -> None:
    """Let a release answer for a share of the callers, each of whom stays with his release.

    Exit code 7 where it is to be promoted and has not passed the domain's gate.
    """
    from adapters.audit import this_user
    from adapters.steering import drop_canary, set_canary
    from adapters.traffic import Canary

    if sum((number is not None, promote, drop)) > 1:
        raise BadInput("A number, --promote and --drop exclude each other", "Give one of them")
    store, name = releases(context, domain)
    if number is not None:
        set_canary(store, name, Canary(release=number, share=checked(share)), this_user(why))
    elif promote:
        demand = demanded(context, domain, force, why)
        now = store.promote(name, this_user(why), demand=demand)
        typer.echo(f"{name} answers with release {now.number}")
        return
    elif drop:
        drop_canary(store, name, this_user(why))
    typer.echo(described_canary(store, name))


@release_app.command(
    "mirror",
    epilog=examples("release mirror support 5", "release mirror support --stop"),
)
def mirror(
    context: typer.Context,
    domain: DomainName,
    number: ToTry = None,
    share: Share = 1.0,
    per_minute: Annotated[int, typer.Option(min=1, max=60_000, help="the most, a process")] = 60,
    max_mb: Annotated[int, typer.Option(min=1, max=65_536, help="the most to keep, MiB")] = 64,
    questions: Annotated[
        bool, typer.Option("--questions", help="keep the questions too, for a judge")
    ] = False,
    stop: Annotated[
        bool, typer.Option("--stop", help="ask nobody again; keep the answers")
    ] = False,
    why: Why = "",
) -> None:
    """Ask a release again what the live one was asked. KEEPS TEXT: both answers of each request,
    which may quote what callers wrote, and a digest of the question (the question itself only with
    --questions), below the domain in the store.
    """
    from adapters.audit import this_user
    from adapters.steering import end_mirror, set_mirror
    from adapters.traffic import Mirror

    if number is not None and stop:
        raise BadInput("A number and --stop exclude each other", "Give one of them")
    store, name = releases(context, domain)
    if number is not None:
        wanted = Mirror(
            release=number,
            share=checked(share),
            per_minute=per_minute,
            max_mb=max_mb,
            questions=questions,
        )
        set_mirror(store, name, wanted, this_user(why))
    elif stop:
        end_mirror(store, name, this_user(why))
    typer.echo(described_mirror(store, name))


@release_app.command(
    "audit", epilog=examples("release audit support", "release audit law --last 5")
)
def audit(
    context: typer.Context,
    domain: DomainName,
    last: Annotated[int, typer.Option(min=1, help="so many changes at most")] = 50,
    as_json: Annotated[bool, typer.Option("--json", help="the lines as they are kept")] = False,
) -> None:
    """Print who changed what answers, when, from what to what, and why; the newest last."""
    store, name = releases(context, domain)
    entries, broken = store.audit(name).read()
    for entry in entries[-last:]:
        if as_json:
            typer.echo(entry.line())
            continue
        more = ", ".join(f"{key} {value}" for key, value in entry.more.items())
        moved = f"{entry.old or '-'} -> {entry.new or '-'}"
        row = (f"{entry.at:%Y-%m-%d %H:%M:%S}", f"{entry.action:<8}", moved, more, entry.who)
        typer.echo(shown("  ".join(filter(None, (*row, entry.why)))))
    if broken:
        typer.echo(f"{broken} lines cannot be read: {store.audit(name).path}", err=True)


@release_app.command("prune", epilog=examples("release prune support", "release prune law --yes"))
def prune(
    context: typer.Context,
    domain: DomainName,
    yes: Annotated[bool, typer.Option("--yes", help="remove them; else only say which")] = False,
    keep: Annotated[int, typer.Option(min=0, help="releases to keep on the way back")] = 5,
    why: Why = "",
) -> None:
    """Remove old releases: never the live one, the last before it, canary, mirror, newer ones, or
    one that a running process has open. Their snapshots are then free for `dslm snapshot prune`.
    """
    from adapters.audit import this_user
    from adapters.pruning import prune as run

    store, name = releases(context, domain)
    found = run(store, name, keep, this_user(why), dry=not yes)
    for one in found:
        state = "removed" if yes else "would go"
        state = "stays, a process has it open" if one.in_use else state
        typer.echo(f"{one.release.number}  {one.release.snapshot[:12]}  {state}")
    gone = {one.release.number for one in found if not one.in_use}
    left = {r.snapshot for r in store.list(name) if r.number not in gone}
    freed = {one.release.snapshot for one in found if not one.in_use} - left
    done = "removed" if yes else "to remove; add --yes"
    typer.echo(f"{len(gone)} releases {done}; {len(freed)} snapshots that no other release names")


def shown(text: str) -> str:
    """Without what would steer a terminal: a reason may come from far away."""
    return "".join(one if one.isprintable() else " " for one in text)


def checked(share: float) -> float:
    """BadInput for what is no share."""
    if not 0 < share <= 1:
        raise BadInput(f"--share {share:g} is no share", "Give more than 0, at most 1")
    return share


def described_canary(store: "ReleaseStore", name: str) -> str:
    canary = store.traffic(name).canary
    if canary is None:
        return f"{name} has no canary"
    return f"{name}: release {canary.release} answers for {canary.share:.2%} of the callers"


def described_mirror(store: "ReleaseStore", name: str) -> str:
    """What is asked again, and what has been kept of it."""
    from adapters.mirrored import Mirrored

    mirror = store.traffic(name).mirror
    kept = Mirrored(store.paths, name)
    comparisons = [one for one in kept.read() if one]
    told = f"{name} has no mirror"
    if mirror:
        told = (
            f"{name}: release {mirror.release} is asked {mirror.share:.2%} of the requests again,"
            f" at most {mirror.per_minute} a minute"
        )
    return f"{told}\n{_kept(comparisons, kept.folder)}" if comparisons else told


def _kept(comparisons: "list[Comparison]", folder: Path) -> str:
    failed = sum(bool(one.mirror.error) for one in comparisons)
    same = sum(one.same for one in comparisons)
    others = len(comparisons) - same - failed
    return f"{same} answers were the same, {others} others, {failed} failed: {folder}"
