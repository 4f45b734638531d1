"""The command `dslm adapters merge`."""

import contextlib
import math
import tempfile
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from adapters.command_line import workplace
from indexer.errors import BadInput

if TYPE_CHECKING:
    from adapters.base import BaseProfile
    from adapters.fingerprint import Fingerprint
    from adapters.merging.merge import Part
    from adapters.registry import AdapterRegistry


class Method(StrEnum):
    """How changes are joined, as the command line knows it."""

    linear = "linear"
    ties = "ties"
    dare = "dare"


Fingerprinted = Annotated[
    bool,
    typer.Option("--fingerprint", help="compute what engines must make of it; loads the base"),
]
EXAMPLES = (
    "adapters merge support-style@1=0.7 --name softer",
    "adapters merge tone=0.5 terms=0.5 --name both",
    "adapters merge tone terms --name both --method ties --density 0.2 --rank 16",
)


def merge_adapters(
    context: typer.Context,
    parts: Annotated[list[str], typer.Argument(help="version=weight; 1 unless a weight is given")],
    name: Annotated[str, typer.Option(help="the result's name; a known one gets a new version")],
    method: Annotated[
        Method, typer.Option(help="linear is exact; ties and dare work entry by entry")
    ] = Method.linear,
    rank: Annotated[
        int | None, typer.Option(min=1, help="compress to this rank; the error is printed")
    ] = None,
    density: Annotated[float, typer.Option(help="the share that ties and dare keep")] = 0.5,
    seed: Annotated[int, typer.Option(help="what dare drops: same seed, same adapter")] = 0,
    fingerprint: Fingerprinted = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="check that the parts go together, no more")
    ] = False,
) -> None:
    """Merge adapter versions, or one at another strength, into a new version.

    A weight multiplies what the version changes: one version at 0.7 is the base and the adapter
    mixed 30 to 70. Ranks add up in a linear merge; with --rank they are compressed.
    """
    from adapters.base import BaseProfile
    from adapters.merging.merge import MergeSettings, check, merge
    from adapters.registry import AdapterRegistry

    place = workplace(context)
    registry = AdapterRegistry(place.paths)
    wanted = MergeSettings(name, method.value, rank, density, seed)
    found = [_part(registry, text) for text in parts]
    check(found, wanted, place.max_rank)
    if dry_run:
        typer.echo("These parts go together")
        return
    base = BaseProfile.read(place.base)
    with contextlib.ExitStack() as stack:
        for one in found:
            stack.callback(registry.lease(one.manifest).end)
        folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="dslm-merge-"))
        record = merge(found, wanted, base, Path(folder), place.max_rank, _report)
        added = registry.add(
            Path(folder),
            base=base,
            max_rank=place.max_rank,
            fingerprint=taken(Path(folder), base, place.max_rank) if fingerprint else None,
        )
    typer.echo(f"{added.label} {added.digest[:12]} rank {added.rank} error {record.error:.2%}")


def taken(folder: Path, base: "BaseProfile", max_rank: int) -> "Fingerprint":
    """An adapter's fingerprint; peft opens its files only once they have been verified."""
    from adapters.verify import verify_adapter

    verify_adapter(folder, base, max_rank)
    from adapters.fingerprinting import fingerprint_of  # torch and peft take seconds

    return fingerprint_of(folder, base)


def _part(registry: "AdapterRegistry", text: str) -> "Part":
    from adapters.merging.merge import Part

    reference, equals, weight = text.partition("=")
    try:
        number = float(weight) if equals else 1.0
    except ValueError:
        number = math.nan
    if not math.isfinite(number):
        raise BadInput(f"'{text}' has no weight behind '='", "Write version=weight, as style@1=0.7")
    manifest = registry.get(reference)
    return Part(manifest, registry.folder(manifest), number)


def _report(done: int, total: int) -> None:
    """Ten lines, on stderr: the result alone goes to stdout."""
    if done == total or done % max(1, total // 10) == 0:
        typer.echo(f"{done} of {total} modules", err=True)
