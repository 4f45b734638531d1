"""The commands `dslm keys`: make, list, end and replace API keys of the store.

What they stand on is imported when they run: `--help` needs none of it.
"""

from collections.abc import Callable
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated, cast

import typer

from adapters.command_line import Workplace, examples, group
from indexer.errors import BadInput

if TYPE_CHECKING:
    from service.keys import KeyFile

ALL = "*"

keys_app = group("API keys: add, list, revoke, rotate.")

KeyId = Annotated[str, typer.Argument(metavar="ID", help="the key's id, as `dslm keys list` shows")]
Domains = Annotated[list[str] | None, typer.Option(help="a domain, or `base`; may be repeated")]
Limit = Annotated[int | None, typer.Option(min=1, help="429 beyond that")]


@keys_app.command(
    epilog=examples("keys add web --chat support --requests-per-minute 60", "keys add ops --all")
)
def add(
    context: typer.Context,
    name: Annotated[str, typer.Argument(help="for people: who uses it, and for what")],
    chat: Domains = None,
    admin: Domains = None,
    everything: Annotated[bool, typer.Option("--all", help="ask and change all there is")] = False,
    days: Annotated[int | None, typer.Option(min=1, help="ends by itself after so many")] = None,
    requests_per_minute: Limit = None,
    tokens_per_minute: Limit = None,
) -> None:
    """Make a key and print it, once: only its hash is kept. A running service knows it at once."""
    from service.keys import new_key

    reach = {"chat": tuple(chat or ()), "admin": tuple(admin or ())}
    if everything and any(reach.values()):
        raise BadInput("--all reaches more than --chat and --admin", "Give one or the others")
    key, text = new_key(
        name,
        chat=(ALL,) if everything else reach["chat"],
        admin=(ALL,) if everything else reach["admin"],
        days=days,
        requests_per_minute=requests_per_minute,
        tokens_per_minute=tokens_per_minute,
    )
    _file(context).add(key)
    typer.echo(text)
    typer.echo(f"{key.id}: {_reach(key.chat, key.admin)}; it will not be shown again", err=True)


@keys_app.command("list", epilog=examples("keys list"))
def list_keys(context: typer.Context) -> None:
    """Show every key: its id, state, name and reach. The keys themselves are known to nobody."""
    now = datetime.now(UTC)
    for key in _file(context).read():
        ends = f", ends {key.expires:%Y-%m-%d}" if key.expires else ""
        limits = [
            f"{limit} {what} a minute"
            for limit, what in (
                (key.requests_per_minute, "requests"),
                (key.tokens_per_minute, "tokens"),
            )
            if limit
        ]
        about = "; ".join([_reach(key.chat, key.admin), *limits])
        typer.echo(f"{key.id}  {key.state(now):8}{ends}  {key.name}  ({about})")


@keys_app.command(epilog=examples("keys revoke 3f9c01d2ab4e"))
def revoke(context: typer.Context, key_id: KeyId) -> None:
    """End a key for good; a running service refuses it within a second."""
    key = _file(context).revoke(key_id, datetime.now(UTC))
    typer.echo(f"{key.id}: revoked")


@keys_app.command(epilog=examples("keys rotate 3f9c01d2ab4e"))
def rotate(context: typer.Context, key_id: KeyId) -> None:
    """Make another key that reaches as far. Both are valid until the old one is revoked."""
    from service.keys import new_key

    file = _file(context)
    old = file.find(key_id)
    now = datetime.now(UTC)
    if old.state(now) != "active":
        raise BadInput(f"The key {key_id} is {old.state(now)}", "Run `dslm keys add`")
    days = max(1, (old.expires - old.created).days) if old.expires else None
    key, text = new_key(
        old.name,
        chat=old.chat,
        admin=old.admin,
        days=days,
        requests_per_minute=old.requests_per_minute,
        tokens_per_minute=old.tokens_per_minute,
    )
    file.add(key)
    typer.echo(text)
    typer.echo(f"{key.id}: as {old.id}; then run `dslm keys revoke {old.id}`", err=True)


def _file(context: typer.Context) -> "KeyFile":
    from service.keys import KeyFile

    make = cast(Callable[[], Workplace], context.obj)
    return KeyFile(make().paths.root)


def _reach(chat: tuple[str, ...], admin: tuple[str, ...]) -> str:
    if ALL in chat and ALL in admin:
        return "everything"
    parts = [f"asks {', '.join(chat)}"] if chat else []
    return "; ".join([*parts, *([f"changes {', '.join(admin)}"] if admin else [])])
