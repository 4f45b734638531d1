"""`dslm eval perplexity`: what models make of texts, before and after they were specialised."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from indexer.errors import BadInput

if TYPE_CHECKING:
    from eval.perplexity import Foreseen

EXAMPLES = (
    "eval perplexity base support --texts general.jsonl",
    "eval perplexity base support@2 support@3 --texts general.jsonl --field question",
)


def perplexity(
    models: Annotated[list[str], typer.Argument(help="the first is what others are beside")],
    texts: Annotated[Path, typer.Option(help="JSON lines, or text with a paragraph each")],
    field: Annotated[str, typer.Option(help="the text's field in JSON lines")] = "text",
    url: Annotated[str, typer.Option(help="the service")] = "http://127.0.0.1:8080",
    most: Annotated[int, typer.Option(min=1, help="characters of each text")] = 1000,
    limit: Annotated[int, typer.Option(min=2, help="texts")] = 200,
    parallel: Annotated[int, typer.Option(min=1, help="texts in flight")] = 4,
) -> None:
    """Say how well models foresee texts, in bits per byte, and whether they differ surely.

    Of a domain its adapter alone is asked. Releases of several strengths or mixes, named one behind
    the other, show what each forgets.
    """
    from eval.perplexity import perplexity_grid
    from eval.report import markdown

    read = [one[:most] for one in read_texts(texts, field)][:limit]
    if len(read) < 2:
        raise BadInput(f"{texts} has {len(read)} texts", "Two are the least that can be compared")
    found = asyncio.run(_asked(url, models, read, parallel))
    title = f"{len(read)} texts of {texts.name}, {sum(map(len, read))} characters"
    typer.echo(markdown(perplexity_grid(found, title)))


async def _asked(
    url: str, models: list[str], texts: list[str], parallel: int
) -> dict[str, list[Foreseen]]:
    from eval.client import Client
    from eval.perplexity import foresee

    key = os.environ.get("DSLM_KEY")
    async with Client(url, concurrency=parallel, key=key) as client:
        return await foresee(client, list(dict.fromkeys(models)), texts)


def read_texts(path: Path, field: str) -> list[str]:
    """Texts with at least one word, without the space around them."""
    from eval.study.rows import read_rows, read_text, text_of

    if path.name.endswith((".jsonl", ".jsonl.gz", ".json", ".csv", ".tsv")):
        found = [text_of(placed, field) for placed in read_rows(path)]
    else:
        found = read_text(path).split("\n\n")
    return [one.strip() for one in found if one.strip()]
