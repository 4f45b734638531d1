"""`dslm bench encoders`: its options."""

import tempfile
from pathlib import Path
from typing import Annotated

import typer

from eval.bench.service_commands import AsMarkdown, Rounds, show_all
from eval.progress import say
from indexer.errors import BadInput


def encoders(
    shapes: Annotated[str, typer.Option(help="by commas")] = "bge-base,gtr-base",
    lengths: Annotated[str, typer.Option(help="tokens of each text, by commas")] = "32,128,512",
    texts: Annotated[int, typer.Option(min=1, help="of a turn")] = 256,
    rounds: Rounds = 3,
    as_markdown: AsMarkdown = False,
) -> None:
    """Tokens a second of embedding models of published shapes, beside the processor's peak.

    Example: python -m eval.bench encoders --shapes bge-small --lengths 128 --texts 32
    """
    from eval.bench.encoders import grid, measure, shape_of

    names = [name.strip() for name in shapes.split(",")]
    for name in names:
        shape_of(name)
    numbers = [_length(part) for part in lengths.split(",")]
    with tempfile.TemporaryDirectory(prefix="dslm-bench-") as folder:
        found = measure(names, numbers, texts, rounds, Path(folder), say)
    show_all([grid(found)], as_markdown)


def _length(part: str) -> int:
    if not part.strip().isdecimal() or not 3 <= int(part) <= 8192:
        raise BadInput(f"--lengths: {part!r} is no number of tokens", "Give numbers of 3 to 8192")
    return int(part)
