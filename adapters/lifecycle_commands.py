"""The commands `dslm adapters` about what became of versions: list, verify, retire, audit, gc."""

import json
from typing import TYPE_CHECKING, Annotated

import typer

from adapters.command_line import Workplace, examples, workplace
from indexer.errors import BadInput, DslmError, StoreError

if TYPE_CHECKING:
    from adapters.garbage import Collected
    from adapters.registry import AdapterRegistry

Adapter = Annotated[str, typer.Argument(help="name, name@version or a digest's beginning")]
Some = Annotated[str | None, typer.Argument(help="name, name@version or digest; else all")]
Why = Annotated[str, typer.Option(help="for the record")]


def register(app: typer.Typer) -> None:
    """Add these commands to the group `adapters`."""
    app.command("list", epilog=examples("adapters list"))(list_adapters)
    app.command("verify", epilog=examples("adapters verify", "adapters verify support-style@2"))(
        verify
    )
    app.command("retire", epilog=examples("adapters retire tone@1 --why 'tone@2 is better'"))(
        retire
    )
    app.command("audit", epilog=examples("adapters audit support-style@2"))(audit)
    app.command("gc", epilog=examples("adapters gc", "adapters gc --yes"))(gc)


def list_adapters(
    context: typer.Context,
    as_json: Annotated[bool, typer.Option("--json", help="one JSON object a line")] = False,
) -> None:
    """Every adapter version in the store, its state, and what answers with it."""
    from adapters.lifecycle import Lifecycle
    from adapters.uses import ANSWERING, is_live, uses

    place = workplace(context)
    needed, lifecycle = uses(place.paths), Lifecycle(place.paths)
    for found in registry(place).list():
        used = needed.get(found.digest, ())
        state = lifecycle.state(found.digest, is_live=is_live(used))
        by = [str(use) for use in used if use.role in ANSWERING]
        if as_json:
            told = {"label": found.label, "state": state, "uses": [str(use) for use in used]}
            typer.echo(json.dumps({**told, **found.model_dump(mode="json")}))
            continue
        row = [found.label, found.digest[:12], f"rank {found.rank}", found.prompt_format]
        row += [f"{found.created:%Y-%m-%d}", state, ", ".join(by), found.note]
        typer.echo("  ".join(filter(None, row)))


def verify(context: typer.Context, adapter: Some = None) -> None:
    """Check stored versions again: every file's digest, and all that is checked of a new one.

    A draft that is sound is verified from then on. Exit code 3 if a version is damaged.
    """
    from adapters.audit import this_user
    from adapters.lifecycle import Lifecycle
    from adapters.stored import check_stored

    place = workplace(context)
    known, lifecycle = registry(place), Lifecycle(place.paths)
    failed = False
    for found in [known.get(adapter)] if adapter else known.list():
        try:
            said = check_stored(known.folder(found), found, place.base, place.max_rank)
        except DslmError as error:
            failed = True
            typer.echo(f"{found.label}  {error.message}")
            continue
        if lifecycle.state(found.digest, is_live=False) == "draft":
            lifecycle.record(found.digest, "verified", this_user(said))
        typer.echo(f"{found.label}  {said}")
    raise typer.Exit(StoreError.exit_code if failed else 0)


def retire(context: typer.Context, adapter: Adapter, why: Why = "") -> None:
    """Say that a version is not to answer again; `dslm adapters gc` may then remove it."""
    from adapters.audit import this_user
    from adapters.lifecycle import Lifecycle
    from adapters.uses import is_live, uses

    place = workplace(context)
    found = registry(place).get(adapter)
    used = uses(place.paths).get(found.digest, ())
    if is_live(used):
        raise BadInput(
            f"{found.label} answers: {', '.join(map(str, used))}",
            "Activate another release or drop the canary first",
        )
    Lifecycle(place.paths).record(found.digest, "retired", this_user(why))
    typer.echo(f"{found.label} is retired")


def audit(
    context: typer.Context,
    adapter: Adapter,
    as_json: Annotated[bool, typer.Option("--json", help="the lines as they are kept")] = False,
) -> None:
    """What became of a version: when, by whom, through which release and gate report."""
    from adapters.lifecycle import Lifecycle

    place = workplace(context)
    for event in Lifecycle(place.paths).events(registry(place).get(adapter).digest):
        if as_json:
            typer.echo(event.model_dump_json(exclude_defaults=True))
            continue
        where = f"{event.domain}@{event.release}" if event.domain else ""
        report = f"report {event.report[:12]}" if event.report else ""
        row = [f"{event.at:%Y-%m-%d %H:%M:%S}", event.state, where, report, event.who, event.why]
        typer.echo("  ".join(filter(None, row)))


def gc(
    context: typer.Context,
    dry_run: Annotated[
        bool, typer.Option("--dry-run/--yes", help="only say what would go, or remove it")
    ] = True,
    days: Annotated[int, typer.Option(min=0, help="a draft older than this goes")] = 30,
    why: Why = "",
) -> None:
    """Remove retired versions and old drafts that no release, engine or process uses.

    Manifests and records stay, and so do the numbers.
    """
    from adapters.audit import this_user
    from adapters.garbage import collect
    from indexer.domain import load_domains

    place = workplace(context)
    served = load_domains(place.domains).values()
    found = collect(place.paths, list(served), this_user(why), dry=dry_run, days=days)
    for one in found.versions:
        typer.echo(_fate(one, dry=dry_run))
    for folder in found.leftovers:
        typer.echo(f"{folder.name}  left by a process that was killed")
    tail = "to free; add --yes to remove them" if dry_run else "freed"
    typer.echo(f"{found.freed / 1e6:.1f} MB {tail}")


def _fate(one: "Collected", *, dry: bool) -> str:
    fate = f"stays: {one.kept}" if one.kept else "would go" if dry else "removed"
    return f"{one.manifest.label}  {one.state}  {one.bytes / 1e6:.1f} MB  {fate}"


def registry(place: Workplace) -> "AdapterRegistry":
    from adapters.registry import AdapterRegistry

    return AdapterRegistry(place.paths)
