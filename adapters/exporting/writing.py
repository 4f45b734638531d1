"""What an export consists of: the files of each form, written into one folder."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Literal

from adapters.base import BaseProfile
from adapters.comparing import card
from adapters.errors import AdapterRefused
from adapters.exporting.gguf import convert
from adapters.exporting.merged import write_merged
from adapters.manifest import CARD_FILE, AdapterCard, AdapterManifest, to_json
from indexer.settings import store_errors

Form = Literal["adapter", "merged", "gguf"]


@dataclass(frozen=True, slots=True)
class Wish:
    """`tolerance` is the share of the adapter's effect that rounding may lose; None: unchecked.

    `converter`, `numbers` and `system` are of a GGUF and its Modelfile.
    """

    form: Form
    tolerance: float | None
    converter: Sequence[str]
    numbers: str
    system: str
    say: Callable[[str], None]


def serving_base(base: str, manifest: AdapterManifest) -> BaseProfile:
    """The base that is configured; AdapterRefused if the version was trained on another."""
    found = BaseProfile.read(base)
    if found.digest != manifest.base.digest:
        raise AdapterRefused(
            f"{manifest.label} was trained on {manifest.base.name}"
            f" {manifest.base.digest[:12]}, this base is {found.name} {found.digest[:12]}",
            "Name its own base by DSLM_BASE",
        )
    return found


def bytes_of(folder: Path, base: BaseProfile | None) -> int:
    """About what an export takes."""
    place, pattern = (base.folder, "*.safetensors") if base else (folder, "*")
    with store_errors(place):
        return sum(file.stat().st_size for file in place.glob(pattern))


def write(
    folder: Path, manifest: AdapterManifest, base: BaseProfile | None, out: Path, wish: Wish
) -> None:
    """Write the version into the folder `out`; `base` for all but the adapter alone."""
    if base is None:
        write_alone(folder, manifest, out)
    elif wish.form == "merged":
        _merge(folder, base, out, wish)
        (out / "README.md").write_text(card(manifest), "utf-8")
    else:
        with TemporaryDirectory(prefix="dslm-merged-", dir=out.parent) as scratch:
            _merge(folder, base, Path(scratch), wish)
            _write_gguf(Path(scratch), manifest, base, out, wish)


def write_alone(folder: Path, manifest: AdapterManifest, out: Path) -> None:
    """As PEFT and vLLM read it, with the card by which another store knows the same version."""
    with store_errors(out):
        for name in manifest.files:
            shutil.copyfile(folder / name, out / name)
        fields = manifest.model_dump(include=set(AdapterCard.model_fields))
        (out / CARD_FILE).write_bytes(to_json(AdapterCard(**fields)))
        (out / "README.md").write_text(card(manifest), "utf-8")


def _merge(folder: Path, base: BaseProfile, out: Path, wish: Wish) -> None:
    write_merged(folder, base, out, lambda done, total: wish.say(f"file {done} of {total}"))
    if wish.tolerance is None:
        return
    from adapters.exporting.checking import compare  # torch takes seconds

    found = compare(out, folder, base)
    wish.say(f"logits at most {found.apart:.2g} apart, {found.lost:.2%} of the effect lost")
    if found.lost > wish.tolerance:
        raise AdapterRefused(
            f"Put into the base, the adapter loses {found.lost:.1%} of its effect to rounding;"
            f" {wish.tolerance:.0%} may be",
            "Merge it into the base in float32, or serve base and adapter as they are",
        )


def _write_gguf(
    merged: Path, manifest: AdapterManifest, base: BaseProfile, out: Path, wish: Wish
) -> None:
    from adapters.exporting.modelfile import modelfile

    name = f"{manifest.name}-{manifest.version}-{wish.numbers}.gguf"
    convert(list(wish.converter), merged, out / name, wish.numbers)
    (out / "Modelfile").write_text(modelfile(base, name, wish.system), "utf-8")
    (out / "README.md").write_text(card(manifest), "utf-8")
