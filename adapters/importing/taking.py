"""An adapter from anywhere into the registry, through the same checks as our own."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from adapters.base import BaseProfile
from adapters.fingerprint import Fingerprint
from adapters.importing.converting import convert
from adapters.importing.sources import MOST_BYTES, fetched
from adapters.importing.templates import check_template
from adapters.manifest import CARD_FILE, AdapterManifest, ImportRecord
from adapters.prompt import PromptFormat
from adapters.registry import DEFAULT_MAX_RANK, AdapterRegistry

Fingerprinter = Callable[[Path], Fingerprint | None]


@dataclass(frozen=True, slots=True)
class Incoming:
    """What is to be taken in, and what its folder does not say of itself.

    `same_base`: the hub id in its configuration is a copy of this base.
    """

    source: str
    name: str | None = None
    prompt_format: PromptFormat | None = None
    note: str | None = None
    same_base: bool = False
    draft: bool = False
    max_rank: int = DEFAULT_MAX_RANK
    most_bytes: int = MOST_BYTES


def take(
    registry: AdapterRegistry,
    base: BaseProfile,
    incoming: Incoming,
    fingerprint: Fingerprinter = lambda folder: None,
) -> AdapterManifest:
    """Fetch, convert where that is exact, verify and store; AdapterRefused says what to change."""
    with (
        fetched(incoming.source, incoming.most_bytes) as folder,
        TemporaryDirectory(prefix="dslm-convert-") as scratch,
    ):
        check_template(folder, base)
        done = convert(folder, base, Path(scratch), same_base=incoming.same_base)
        ready = Path(scratch) if done else folder
        is_ours = (folder / CARD_FILE).is_file() and not done
        record = ImportRecord(source=_public(incoming.source), converted=tuple(done))
        return registry.add(
            ready,
            incoming.name,
            base=base,
            prompt_format=incoming.prompt_format,
            note=incoming.note,
            max_rank=incoming.max_rank,
            fingerprint=fingerprint(ready),
            imported=None if is_ours else record,
            draft=incoming.draft,
        )


def _public(source: str) -> str:
    """Where it came from, without this machine's folders and without keys in a URL."""
    if Path(source).expanduser().is_dir():
        return Path(source).expanduser().resolve().name
    kind, marks, rest = source.partition("://")
    place = rest.partition("?")[0].rpartition("@")[2] if marks else ""
    return f"{kind}://{place}" if marks else source
