"""`dslm ask`: one question to the running service, for a person to read."""

import asyncio
import os
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated, Any

import typer

from adapters.command_line import workplace

if TYPE_CHECKING:
    from eval.answer import Piece

EXAMPLES = ('ask support "How often should I descale?"', 'ask legal@2 "Who signs?"')


class Mode(StrEnum):
    """The answer modes, as the command line knows them."""

    generate = "generate"
    verbatim = "verbatim"
    quote = "quote"


def ask(
    context: typer.Context,
    domain: Annotated[str, typer.Argument(help="a domain, `domain@2` for a release, or `base`")],
    question: Annotated[str, typer.Argument(help="in quotation marks")],
    url: Annotated[str | None, typer.Option(help="the service; DSLM_HOST and DSLM_PORT")] = None,
    passages: Annotated[bool, typer.Option(help="look up the documents")] = True,
    demonstrations: Annotated[bool, typer.Option(help="look up solved examples")] = True,
    adapter: Annotated[bool, typer.Option(help="use the domain's adapter")] = True,
    mode: Annotated[Mode | None, typer.Option(help="instead of the domain's mode")] = None,
) -> None:
    """Print the running service's answer as it streams, then its sources."""
    switches: dict[str, Any] = {
        "passages": passages,
        "demonstrations": demonstrations,
        "adapter": adapter,
    }
    if mode:
        switches["mode"] = mode.value
    where = url or workplace(context).url
    key = os.environ.get("DSLM_KEY")
    asyncio.run(stream_answer(where, domain, question, switches, key))


async def stream_answer(
    url: str, domain: str, question: str, switches: dict[str, Any], key: str | None = None
) -> None:
    """Print an answer piece by piece; the last piece brings what it rests on."""
    from eval.client import Client

    messages = [{"role": "user", "content": question}]
    async with (
        Client(url, key=key) as client,
        client.stream(domain, messages, {"dslm": switches}) as pieces,
    ):
        async for piece in pieces:
            typer.echo(piece.text, nl=False)
            if piece.dslm:
                typer.echo()
                print_sources(piece)


def print_sources(last: "Piece") -> None:
    """Each quotation with its place, then what made the answer."""
    for cited in last.citations:
        typer.echo(f'  {cited.document} [{cited.start}, {cited.end}): "{cited.quote}"')
    made = last.dslm
    adapter = made.get("adapter") or "no adapter"
    release = f"{made.get('domain')} release {made.get('release')}"
    typer.echo(f"  {release}, {adapter}, {made.get('mode')}, snapshot {made.get('snapshot')}")
