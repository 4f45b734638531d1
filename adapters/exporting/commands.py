"""The command `dslm adapters export`."""

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from adapters.command_line import workplace

EXAMPLES = (
    "adapters export tone@2 --to out/tone",
    "adapters export tone@2 --format merged --to s3://bucket/tone-merged",
    "adapters export tone@2 --format gguf --domain support --to out/tone-gguf",
    "adapters export tone@2 --to hf://owner/tone",
)


class Form(StrEnum):
    """What is written, as the command line knows it."""

    adapter = "adapter"
    merged = "merged"
    gguf = "gguf"


class Kind(StrEnum):
    """The number types that llama.cpp's converter writes."""

    bf16 = "bf16"
    f16 = "f16"
    f32 = "f32"
    q8_0 = "q8_0"


To = Annotated[str, typer.Option(help="a new folder, hf://owner/name, or a URL")]
How = Annotated[
    Form, typer.Option("--format", help="merged: the base with it; gguf: for llama.cpp, Ollama")
]
Tolerance = Annotated[
    float, typer.Option(min=0.0, help="share of the adapter's effect that rounding may lose")
]
Converter = Annotated[Path | None, typer.Option(help="llama.cpp's convert_hf_to_gguf.py")]
Numbers = Annotated[Kind, typer.Option("--type", help="of the numbers in a GGUF")]
Whose = Annotated[str | None, typer.Option(help="whose system text the Modelfile gets")]


def export(
    context: typer.Context,
    adapter: Annotated[str, typer.Argument(help="name, name@version or a digest's beginning")],
    to: To,
    form: How = Form.adapter,
    check: Annotated[bool, typer.Option(help="compare the logits of what is merged")] = True,
    tolerance: Tolerance = 0.1,
    converter: Converter = None,
    kind: Numbers = Kind.bf16,
    domain: Whose = None,
    public: Annotated[bool, typer.Option("--public", help="a new repository is private")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="only say what would be done")] = False,
) -> None:
    """Write a version elsewhere: alone, put into its base, or as GGUF with a Modelfile."""
    from adapters.exporting.delivery import check_target, delivered
    from adapters.exporting.gguf import find_converter
    from adapters.exporting.writing import Wish, bytes_of, serving_base, write
    from adapters.registry import AdapterRegistry

    place = workplace(context)
    registry = AdapterRegistry(place.paths)
    found = registry.get(adapter)
    check_target(to)
    wish = Wish(
        form.value,
        tolerance if check else None,
        find_converter(converter) if form == Form.gguf else (),
        kind.value,
        place.domain(domain).answer.system if domain else "",
        lambda said: typer.echo(said, err=True),
    )
    base = None if form == Form.adapter else serving_base(place.base, found)
    if dry_run:
        size = bytes_of(registry.folder(found), base)
        typer.echo(f"{found.label} would go to {to}, {form.value}, about {size / 1e6:.1f} MB")
        return
    lease = registry.lease(found)
    try:
        with delivered(to, private=not public) as out:
            write(registry.folder(found), found, base, out, wish)
    finally:
        lease.end()
    typer.echo(f"{found.label} {to}")
