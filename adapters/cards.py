"""What a trained adapter says of itself, and the manifest of the version that is made of it."""

from __future__ import annotations

import hashlib
import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from pydantic import ValidationError

from adapters.base import BaseProfile
from adapters.errors import AdapterRefused
from adapters.manifest import CARD_FILE, AdapterCard, AdapterManifest
from adapters.prompt import PromptFormat
from adapters.verify import AdapterFacts
from indexer.errors import BadInput
from indexer.settings import store_errors

_MOST_BYTES: Final = 1_000_000


def read_card(folder: Path, base: BaseProfile) -> AdapterCard | None:
    """None where there is none; AdapterRefused for a broken one, or one of another base."""
    if not (folder / CARD_FILE).is_file():
        return None
    with store_errors(folder / CARD_FILE), (folder / CARD_FILE).open("rb") as file:
        content = file.read(_MOST_BYTES + 1)
    if len(content) > _MOST_BYTES:
        raise AdapterRefused(f"{folder / CARD_FILE} is larger than a megabyte", "Delete it")
    try:
        card = AdapterCard.model_validate_json(content)
    except ValidationError as error:
        reason = error.errors()[0]
        where = ".".join(str(part) for part in reason["loc"])
        raise AdapterRefused(
            f"{folder / CARD_FILE}: `{where}` is not allowed ({reason['msg']})",
            "Correct it, or delete the file and give its values as options",
        ) from error
    if card.base.digest != base.digest:
        parts = [part for part, digest in card.base.parts.items() if base.parts.get(part) != digest]
        differs = f": another {' and '.join(parts)}" if parts else ""
        raise AdapterRefused(
            f"{folder} was trained on another base ({card.base.name} {card.base.digest[:12]}),"
            f" this one is {base.name} {base.digest[:12]}{differs}",
            "Serve that base, or train the adapter again on this one",
        )
    return card


def format_of(card: AdapterCard | None, folder: Path) -> PromptFormat:
    """BadInput where nobody has said it."""
    if card is None:
        raise BadInput(
            f"{folder} has no {CARD_FILE}, so its prompt format is unknown",
            "Say which prompt format it was trained with: sentences or passages",
        )
    return card.prompt_format


def version_digest(card: AdapterCard, files: dict[str, str]) -> str:
    """Name a version by everything that decides its answers; notes and dates do not."""
    content = [
        card.name,
        card.base.digest,
        card.prompt_format,
        card.trained_with.model_dump(),
        sorted(files.items()),
    ]
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def manifest_of(
    card: AdapterCard, facts: AdapterFacts, files: dict[str, str], digest: str, version: int
) -> AdapterManifest:
    return AdapterManifest(
        digest=digest,
        version=version,
        rank=facts.rank,
        alpha=facts.alpha,
        target_modules=facts.target_modules,
        created=datetime.now(UTC),
        files=files,
        **dict(card),
    )
