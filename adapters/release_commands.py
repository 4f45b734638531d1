"""The commands `dslm release` that look at releases and move LIVE: read a line, call, print."""

import json
from typing import TYPE_CHECKING, Annotated, Any

import typer

from adapters.command_line import DomainName, examples, group, releases, workplace
from indexer.errors import BadInput

if TYPE_CHECKING:
    from adapters.gating import Demand
    from adapters.parts import AdapterChoice, Changes
    from adapters.release import Release, ReleaseStore

release_app = group("Releases of a domain: make, look at, activate, try on a part, roll back.")

Number = Annotated[int, typer.Argument(min=1, help="the release's number")]
Why = Annotated[str, typer.Option(help="for the audit")]
Force = Annotated[bool, typer.Option("--force", help="also without a passing gate; needs --why")]


@release_app.command("list", epilog=examples("release list support"))
def list_releases(context: typer.Context, domain: DomainName) -> None:
    """A domain's releases, oldest first; the star marks the one that answers."""
    store, name = releases(context, domain)
    now = store.live(name)
    roles = {number: role for role, number in store.traffic(name).releases().items()}
    for found in store.list(name):
        mark = "*" if now and now.number == found.number else " "
        adapter = found.adapter.label if found.adapter else "no adapter"
        row = [f"{mark} {found.number}", found.snapshot[:12], adapter, found.mode]
        row += [f"{found.created:%Y-%m-%d %H:%M}", roles.get(found.number, ""), found.note]
        typer.echo("  ".join(filter(None, row)))


@release_app.command("show", epilog=examples("release show support 2"))
def show_release(context: typer.Context, domain: DomainName, number: Number) -> None:
    """Everything that one release pins, as JSON."""
    store, name = releases(context, domain)
    typer.echo(store.get(name, number).model_dump_json(indent=2))


@release_app.command(
    "create",
    epilog=examples(
        "release create support --adapter support-style@2",
        "release create support --set retrieval.passages=6 --set answer.mode=quote --activate",
    ),
)
def create(
    context: typer.Context,
    domain: DomainName,
    snapshot: Annotated[
        str | None, typer.Option(help="its id or how it begins; else the live one's")
    ] = None,
    adapter: Annotated[
        str | None, typer.Option(help="name, name@version or digest; else the live one's")
    ] = None,
    without: Annotated[bool, typer.Option("--no-adapter", help="the base alone")] = False,
    changes: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="KEY=VALUE", help="a setting under `answer` or `retrieval`"),
    ] = None,
    note: Annotated[str, typer.Option(help="for people; stands in the release")] = "",
    activate_it: Annotated[bool, typer.Option("--activate", help="let it answer at once")] = False,
) -> None:
    """Make a release from parts; what is not given is as in the live one."""
    from adapters.audit import written

    store, name = releases(context, domain)
    made = store.create(
        workplace(context).domain(domain),
        snapshot=snapshot,
        adapter=_adapter(store, adapter, without),
        changes=parse_changes(changes or []),
        note=written(note),
        activate=activate_it,
    )
    state = "is live" if activate_it else f"waits for `dslm release activate {name} {made.number}`"
    typer.echo(f"{name}: release {made.number} {state}")


@release_app.command("diff", epilog=examples("release diff support 3", "release diff support 2 3"))
def diff(
    context: typer.Context,
    domain: DomainName,
    number: Number,
    other: Annotated[int | None, typer.Argument(min=1, help="to this one")] = None,
) -> None:
    """What one release pins otherwise than another; with one number, than the live one."""
    from adapters.parts import difference

    store, name = releases(context, domain)
    if other is None:
        old, new = live_of(store, name), store.get(name, number)
    else:
        old, new = store.get(name, number), store.get(name, other)
    for key, (was, will) in difference(old, new).items():
        typer.echo(f"{key}: {_shown(was)} -> {_shown(will)}")


@release_app.command(
    "activate",
    epilog=examples(
        "release activate support 2", "release activate support 2 --force --why 'wrong prices'"
    ),
)
def activate(
    context: typer.Context,
    domain: DomainName,
    number: Number,
    why: Why = "",
    force: Force = False,
) -> None:
    """Let a release answer; a running service follows within a second.

    Exit code 7 where the domain has a gate that the release has not passed against the live one.
    """
    from adapters.audit import this_user

    demand = demanded(context, domain, force, why)
    store, name = releases(context, domain)
    now = store.activate(name, number, this_user(why), demand)
    typer.echo(f"{name} answers with release {now.number}")


@release_app.command("rollback", epilog=examples("release rollback support"))
def rollback(context: typer.Context, domain: DomainName, why: Why = "") -> None:
    """Let that release answer which answered before."""
    from adapters.audit import this_user

    store, name = releases(context, domain)
    typer.echo(f"{name} answers with release {store.rollback(name, this_user(why)).number}")


def demanded(context: typer.Context, domain: str, force: bool, why: str) -> "Demand | None":
    """What the domain demands of a release; BadInput for a force without its reason."""
    from adapters.gating import demand_of, reasoned

    return demand_of(workplace(context).domain(domain), forced=reasoned(force, why))


def parse_changes(given: list[str]) -> "Changes":
    """`answer.mode=quote`: a value is JSON, or else text. BadInput for what is no setting."""
    from adapters.parts import Changes

    changed: dict[str, dict[str, Any]] = {"answer": {}, "retrieval": {}}
    for one in given:
        key, equals, text = one.partition("=")
        section, _, name = key.strip().partition(".")
        if not equals or section not in changed or not name:
            remedy = "Write answer.mode=quote or retrieval.passages=6"
            raise BadInput(f"`{one}` changes no setting of a release", remedy)
        *parents, last = name.split(".")
        place = changed[section]
        for parent in parents:
            place = place.setdefault(parent, {})
        place[last] = _value(text)
    return Changes(**changed)


def live_of(store: "ReleaseStore", name: str) -> "Release":
    """BadInput before the first."""
    live = store.live(name)
    if live is None:
        raise BadInput(f"{name} has no live release", f"Run `dslm index {name}` first")
    return live


def _adapter(store: "ReleaseStore", reference: str | None, without: bool) -> "AdapterChoice":
    from adapters.registry import AdapterRegistry

    if reference and without:
        raise BadInput("--adapter and --no-adapter contradict each other", "Give one of them")
    if reference:
        return AdapterRegistry(store.paths).get(reference)
    return None if without else "keep"


def _value(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return text


def _shown(value: Any) -> str:
    return "none" if value is None else json.dumps(value, ensure_ascii=False)
