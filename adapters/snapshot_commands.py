"""The commands `dslm snapshot`: what lies in the store, whether it is sound, and moving it.

They stand here because releases say which snapshots are needed.
"""

from collections import defaultdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from adapters.command_line import DomainName, examples, group, releases, workplace
from indexer.errors import StoreError

if TYPE_CHECKING:
    from indexer.domain import Domain
    from indexer.settings import Paths
    from indexer.store.prune import Stored

snapshot_app = group("Snapshots of a domain: list, verify, prune, export, import.")

SnapshotId = Annotated[str | None, typer.Argument(help="its id or how it begins; else all")]


def opened(context: typer.Context, name: str) -> "tuple[Paths, Domain]":
    """The store and the domain; NotFound if there is no such domain."""
    place = workplace(context)
    return place.paths, place.domain(name)


def named(context: typer.Context, domain: str) -> dict[str, list[str]]:
    """By snapshot the releases that name it; the live one has a star."""
    store, name = releases(context, domain)
    live = store.live(name)
    found: dict[str, list[str]] = defaultdict(list)
    for release in store.list(name):
        mark = "*" if live and live.number == release.number else ""
        found[release.snapshot].append(f"{release.number}{mark}")
    return found


def described(found: "Stored", numbers: list[str], used: bool) -> str:
    parts = [found.id, f"{found.made:%Y-%m-%d %H:%M}", f"{found.bytes / 1e6:.1f} MB"]
    if found.manifest:
        parts += [f"{found.manifest.documents} documents", f"{found.manifest.chunks} passages"]
    else:
        parts.append("cannot be read")
    if numbers:
        parts.append(f"release {', '.join(numbers)}")
    return "  ".join([*parts, *(["open"] if used else [])])


@snapshot_app.command("list", epilog=examples("snapshot list support"))
def list_snapshots(context: typer.Context, domain: DomainName) -> None:
    """A domain's snapshots, newest first, with the releases that name them."""
    from indexer.store.prune import in_use, stored

    paths, found = opened(context, domain)
    by_release = named(context, domain)
    for one in stored(paths, found.name):
        typer.echo(described(one, by_release.get(one.id, []), in_use(one)))


@snapshot_app.command(
    "verify", epilog=examples("snapshot verify support", "snapshot verify support 3f2a")
)
def verify(context: typer.Context, domain: DomainName, snapshot: SnapshotId = None) -> None:
    """Read everything again in a process of its own: digests, records, indexes."""
    from indexer.store.prune import choose, stored
    from indexer.store.verify import verify_snapshot

    paths, found = opened(context, domain)
    every = stored(paths, found.name)
    failed = False
    for one in [choose(every, snapshot)] if snapshot else every:
        try:
            verify_snapshot(one.path)
        except StoreError as error:
            failed = True
            typer.echo(f"{one.id}  {error.message}")
        else:
            typer.echo(f"{one.id}  ok")
    raise typer.Exit(StoreError.exit_code if failed else 0)


@snapshot_app.command(
    "prune", epilog=examples("snapshot prune support", "snapshot prune support --yes --keep 1")
)
def prune(
    context: typer.Context,
    domain: DomainName,
    yes: Annotated[bool, typer.Option("--yes", help="remove them; else only say which")] = False,
    keep: Annotated[int | None, typer.Option(min=0, help="instead of `snapshots.keep`")] = None,
) -> None:
    """Remove old snapshots: never one that a release names or a running process has open."""
    from indexer.job.lock import locked
    from indexer.store.prune import in_use, removable, remove, stored

    paths, found = opened(context, domain)
    store, name = releases(context, domain)
    wanted = found.snapshots.keep if keep is None else keep
    with locked(paths.domain(name)), store.unchanged(name):
        freed = 0
        for one in removable(stored(paths, name), named(context, domain), wanted):
            gone = remove(one) if yes else not in_use(one)
            freed += one.bytes if gone else 0
            state = ("removed" if yes else "would go") if gone else "stays, a process has it open"
            typer.echo(f"{one.id}  {one.bytes / 1e6:.1f} MB  {state}")
    typer.echo(f"{freed / 1e6:.1f} MB {'freed' if yes else 'to free; add --yes to remove them'}")


@snapshot_app.command(
    "export", epilog=examples("snapshot export support", "snapshot export support 3f2a --to s.tar")
)
def export(
    context: typer.Context,
    domain: DomainName,
    snapshot: Annotated[
        str | None, typer.Argument(help="its id or how it begins; else the live one")
    ] = None,
    to: Annotated[Path | None, typer.Option(help="the file to write")] = None,
) -> None:
    """Write a snapshot to one file, checked on the way."""
    from indexer.store.archive import export_snapshot
    from indexer.store.prune import choose, stored

    paths, found = opened(context, domain)
    store, name = releases(context, domain)
    live = store.live(name)
    every = stored(paths, found.name)
    newest = every[0].id if every else "to export"
    one = choose(every, snapshot or (live.snapshot if live else newest))
    file = to or Path(f"{name}-{one.id}.tar")
    export_snapshot(one.path, file)
    typer.echo(f"{file}  {file.stat().st_size / 1e6:.1f} MB")


@snapshot_app.command(
    "import",
    epilog=examples(
        "snapshot import support support-3f2a.tar", "snapshot import law s.tar --release"
    ),
)
def import_(
    context: typer.Context,
    domain: DomainName,
    file: Annotated[Path, typer.Argument(help="what `dslm snapshot export` wrote")],
    release: Annotated[
        bool, typer.Option("--release", help="make a release of it, live if the domain says so")
    ] = False,
) -> None:
    """Take a snapshot from a file, once all of it has been checked."""
    from indexer.job.lock import locked
    from indexer.store.archive import import_snapshot

    paths, found = opened(context, domain)
    with locked(paths.domain(found.name)):
        snapshot = import_snapshot(paths, found.name, file)
    typer.echo(snapshot)
    if release:
        store, _ = releases(context, domain)
        live = found.publish == "live"
        made = store.create(found, snapshot=snapshot, note=f"from {file.name}", activate=live)
        typer.echo(f"release {made.number} {'is live' if live else 'waits'}")
