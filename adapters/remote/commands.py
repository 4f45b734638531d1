"""The commands `dslm release push`, `pull` and `follow`: read a line, call, print."""

import contextlib
from typing import Annotated

import typer

from adapters.command_line import examples, workplace
from indexer.errors import BadInput

PUSHES = examples(
    "release push s3://bucket/dslm support", "release push s3://bucket/dslm support --watch"
)
PULLS = examples("release pull s3://bucket/dslm support", "release pull file:///mnt/shared law")
FOLLOWS = examples("release follow s3://bucket/dslm support law")

Url = Annotated[
    str, typer.Argument(metavar="URL", help="s3://, gs://, file:// and what fsspec has")
]
Domains = Annotated[list[str], typer.Argument(metavar="DOMAIN...", help="their names")]
Every = Annotated[float, typer.Option(min=0.05, help="seconds between two looks")]


def push(
    context: typer.Context,
    url: Url,
    domains: Domains,
    watch: Annotated[bool, typer.Option("--watch", help="push whatever becomes live")] = False,
    again: Annotated[bool, typer.Option("--again", help="also what is there already")] = False,
    every: Every = 0.5,
) -> None:
    """Put what answers for domains into an object store: content first, the pointer last."""
    from adapters.remote.following import keep_moving
    from adapters.remote.objects import Objects
    from adapters.remote.pushing import push as run

    if watch and again:
        raise BadInput("--watch and --again contradict each other", "Push again once, then watch")
    paths, objects = workplace(context).paths, Objects(url)

    def move(domain: str) -> int:
        return run(paths, objects, domain, _silent, again=again).release

    if watch:
        with contextlib.suppress(KeyboardInterrupt):
            keep_moving(domains, move, typer.echo, every)
        return
    for domain in domains:
        typer.echo(f"{domain}: release {move(domain)} is in {objects.url}")


def pull(context: typer.Context, url: Url, domains: Domains) -> None:
    """Let this store answer as an object store says, once every digest has been compared."""
    from adapters.remote.objects import Objects
    from adapters.remote.pulling import pull as run

    paths, objects = workplace(context).paths, Objects(url)
    for domain in domains:
        found = run(paths, objects, workplace(context).domain(domain).name, _silent)
        typer.echo(f"{domain}: release {found.release} is live")


def follow(context: typer.Context, url: Url, domains: Domains, every: Every = 0.5) -> None:
    """Pull whatever becomes live there, until interrupted; a running service follows at once."""
    from adapters.remote.following import keep_moving
    from adapters.remote.objects import Objects
    from adapters.remote.pulling import pull as run

    paths, objects = workplace(context).paths, Objects(url)
    names = [workplace(context).domain(domain).name for domain in domains]
    with contextlib.suppress(KeyboardInterrupt):
        keep_moving(
            names, lambda name: run(paths, objects, name, _silent).release, typer.echo, every
        )


def _silent(_: int) -> None:
    """Nobody watches how far it is."""
