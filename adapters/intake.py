"""Adapter files from a folder that others may write: what is stored is what was checked."""

from __future__ import annotations

import hashlib
import os
import shutil
from pathlib import Path

from adapters.base import BaseProfile
from adapters.errors import AdapterRefused
from adapters.manifest import CONFIG_FILE, WEIGHTS_FILE
from adapters.verify import AdapterFacts, verify_adapter


def verified_files(
    folder: Path, base: BaseProfile, max_rank: int
) -> tuple[AdapterFacts, dict[str, str]]:
    """What the checks found, and digests of the very content that was checked."""
    paths = [folder / CONFIG_FILE, folder / WEIGHTS_FILE]
    before = [_signature(path) for path in paths]
    facts = verify_adapter(folder, base, max_rank)
    files = {path.name: _sha256(path) for path in paths}
    for path, signature in zip(paths, before, strict=True):
        if _signature(path) != signature:
            raise _changed(path)
    return facts, files


def _signature(path: Path) -> tuple[int, int, int] | None:
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_ino, found.st_size, found.st_mtime_ns


def _changed(path: Path) -> AdapterRefused:
    return AdapterRefused(f"{path} changed while it was added", "Add it when it is complete")


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def copy_file(source: Path, target: Path, digest: str) -> None:
    """What was verified, and no other content: somebody may be writing into the folder."""
    shutil.copyfile(source, target)
    with target.open("rb+") as file:
        os.fsync(file.fileno())
    if _sha256(target) != digest:
        raise _changed(source)
