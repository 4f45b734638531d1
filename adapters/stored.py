"""Whether a stored version is still what was added, and still fits the base."""

from __future__ import annotations

import hashlib
from pathlib import Path

from adapters.base import BaseProfile
from adapters.manifest import AdapterManifest
from adapters.verify import verify_adapter
from indexer.errors import StoreError
from indexer.settings import store_errors


def check_stored(folder: Path, manifest: AdapterManifest, base: str, max_rank: int) -> str:
    """What was established, in words; StoreError or AdapterRefused names what is wrong.

    Of a version for another base only the digests are compared.
    """
    for name, wanted in manifest.files.items():
        with store_errors(folder / name), (folder / name).open("rb") as file:
            found = hashlib.file_digest(file, "sha256").hexdigest()
        if found != wanted:
            raise StoreError(f"{folder / name} is not what was added", "Restore it from a backup")
    profile = BaseProfile.read(base)
    if profile.digest != manifest.base.digest:
        return f"whole; it is for another base, {manifest.base.name}"
    verify_adapter(folder, profile, max_rank)
    return "whole, and fits the base"
