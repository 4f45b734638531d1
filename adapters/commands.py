"""The commands `dslm adapters`: read a line, call this room, print.

Training is imported only by the command that trains.
"""

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from adapters import lifecycle_commands
from adapters.command_line import Workplace, examples, group, workplace
from adapters.exporting.commands import EXAMPLES as EXPORTS
from adapters.exporting.commands import export
from adapters.merging.commands import EXAMPLES as MERGES
from adapters.merging.commands import Fingerprinted, merge_adapters, taken
from adapters.training.commands import EXAMPLES as TRAININGS
from adapters.training.commands import train

if TYPE_CHECKING:
    from adapters.fingerprint import Fingerprint
    from adapters.registry import AdapterRegistry


class Format(StrEnum):
    """The prompt formats, as the command line knows them."""

    sentences = "sentences"
    passages = "passages"
    fenced = "fenced"


adapters_app = group("Adapter versions: train, merge, add, verify, compare, export, retire.")
adapters_app.command("train", epilog=examples(*TRAININGS))(train)
adapters_app.command("merge", epilog=examples(*MERGES))(merge_adapters)
adapters_app.command("export", epilog=examples(*EXPORTS))(export)
lifecycle_commands.register(adapters_app)


def registry(place: Workplace) -> "AdapterRegistry":
    from adapters.registry import AdapterRegistry

    return AdapterRegistry(place.paths)


@adapters_app.command("show", epilog=examples("adapters show support-style@1"))
def show_adapter(
    context: typer.Context,
    adapter: Annotated[str, typer.Argument(help="name, name@version or a digest's beginning")],
) -> None:
    """One version's manifest, as JSON."""
    typer.echo(registry(workplace(context)).get(adapter).model_dump_json(indent=2))


@adapters_app.command("card", epilog=examples("adapters card support-style@2"))
def show_card(
    context: typer.Context,
    adapter: Annotated[str, typer.Argument(help="name, name@version or a digest's beginning")],
) -> None:
    """What is known about a version, its record and its scores, as Markdown."""
    from adapters.comparing import card
    from adapters.lifecycle import Lifecycle
    from adapters.scores import scores

    place = workplace(context)
    found = registry(place).get(adapter)
    events = Lifecycle(place.paths).events(found.digest)
    typer.echo(card(found, events, scores(place.paths, found.digest)), nl=False)


@adapters_app.command("diff", epilog=examples("adapters diff support-style@1 support-style@2"))
def diff_adapters(
    context: typer.Context,
    one: Annotated[str, typer.Argument(help="a version")],
    other: Annotated[str, typer.Argument(help="another of the same base")],
) -> None:
    """How two versions differ: data, settings, scores at the gate, what they do to the base."""
    from adapters.comparing import differences, likeness
    from adapters.scores import scores

    place = workplace(context)
    known = registry(place)
    first, second = known.get(one), known.get(other)
    for name, mine, theirs in differences(first, second):
        typer.echo(f"{name}: {mine} -> {theirs}")
    old, new = scores(place.paths, first.digest), scores(place.paths, second.digest)
    for name in sorted(old.keys() | new.keys()):
        was, now = (f"{one[name]:.4g}" if name in one else "-" for one in (old, new))
        typer.echo(f"gate of {name}: {was} -> {now}")
    if first.base.digest != second.base.digest:
        return
    found = likeness(known.folder(first), known.folder(second))
    typer.echo(
        f"change of the base: size {found.size:.4g} -> {found.other_size:.4g},"
        f" cosine {found.cosine:.3f}"
    )
    for module, gap in found.apart:
        typer.echo(f"  {module} {gap:.4g} apart")


@adapters_app.command(
    "add",
    epilog=examples(
        "adapters add out/my-style --name my-style",
        "adapters add owner/their-lora@main --name theirs --prompt-format sentences",
        "adapters add s3://bucket/loras/tone --name tone --prompt-format sentences",
    ),
)
def add_adapter(
    context: typer.Context,
    source: Annotated[
        str, typer.Argument(help="a PEFT folder, owner/name[@revision] of the hub, or a URL")
    ],
    name: Annotated[str | None, typer.Option(help="unless the folder's card says it")] = None,
    prompt_format: Annotated[
        Format | None, typer.Option(help="what it was trained with, unless its card says it")
    ] = None,
    note: Annotated[str | None, typer.Option(help="for people")] = None,
    fingerprint: Fingerprinted = False,
    draft: Annotated[
        bool, typer.Option("--draft", help="no release takes it before it is verified")
    ] = False,
    same_base: Annotated[
        bool, typer.Option("--same-base", help="the base it names is a copy of this one")
    ] = False,
) -> None:
    """Verify an adapter against the base and store it as the next version of its name.

    What other tools save otherwise is converted where that is exact, and said; all else is refused
    with what to change.
    """
    from adapters.base import BaseProfile
    from adapters.importing.taking import Incoming, take

    place = workplace(context)
    base = BaseProfile.read(place.base)
    incoming = Incoming(
        source,
        name,
        prompt_format=prompt_format.value if prompt_format else None,
        note=note,
        same_base=same_base,
        draft=draft,
        max_rank=place.max_rank,
    )

    def fingerprinted(folder: Path) -> "Fingerprint | None":
        return taken(folder, base, place.max_rank) if fingerprint else None

    added = take(registry(place), base, incoming, fingerprinted)
    for one in added.imported.converted if added.imported else ():
        typer.echo(f"converted: {one}", err=True)
    typer.echo(f"{added.label} {added.digest[:12]}")
