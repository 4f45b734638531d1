"""Adapter folders as an engine may read them: whole, and unchanged for as long as it may look.

vLLM dies when it reads an adapter again whose files are gone, and answers wrongly when they were
replaced. The store never touches them; this notices if somebody else did.
"""

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from adapters.manifest import AdapterManifest
from adapters.registry import AdapterRegistry
from indexer.errors import StoreError
from service.errors import Unavailable

Signature = tuple[int, int, int]


class DamagedAdapter(Unavailable):
    """Its files in the store are gone, or are not what was added: waiting does not help."""


@dataclass(frozen=True, slots=True)
class VerifiedFolder:
    """An adapter's files, and how they looked when their content was compared."""

    path: Path
    label: str
    seen: tuple[tuple[Path, Signature], ...]

    def check_unchanged(self) -> None:
        """A few microseconds for each answer. DamagedAdapter names what has changed."""
        for file, signature in self.seen:
            if _signature(file, self.label) != signature:
                raise _damaged(file, self.label, "has been changed")


def known(registry: AdapterRegistry, reference: str) -> AdapterManifest:
    """Find an adapter. NotFound if there is none; DamagedAdapter if its folder cannot be read."""
    try:
        return registry.get(reference)
    except StoreError as error:
        message = f"The adapter {reference} cannot be served: {error.message}"
        remedy = error.remedy or "Restore it from a backup, or set another adapter"
        raise DamagedAdapter(message, remedy) from error


def verified(manifest: AdapterManifest, folder: Path) -> VerifiedFolder:
    """Compare every file, read whole, with the manifest's sha256. DamagedAdapter if one differs.

    The signature is taken first: a change while reading is found at the next look.
    """
    return VerifiedFolder(folder, manifest.label, tuple(_checked(manifest, folder)))


def _checked(manifest: AdapterManifest, folder: Path) -> Iterator[tuple[Path, Signature]]:
    for name, wanted in manifest.files.items():
        file = folder / name
        signature = _signature(file, manifest.label)
        if _sha256(file, manifest.label) != wanted:
            raise _damaged(file, manifest.label, "is not what was added")
        yield file, signature


def _sha256(file: Path, label: str) -> str:
    try:
        with file.open("rb") as content:
            return hashlib.file_digest(content, "sha256").hexdigest()
    except OSError as error:
        raise _damaged(file, label, f"cannot be read ({error.strerror})") from error


def _signature(file: Path, label: str) -> Signature:
    try:
        found = file.stat()
    except OSError as error:
        raise _damaged(file, label, f"cannot be read ({error.strerror})") from error
    return found.st_ino, found.st_size, found.st_mtime_ns


def _damaged(file: Path, label: str, what: str) -> DamagedAdapter:
    return DamagedAdapter(
        f"The adapter {label} cannot be served: {file.name} {what}",
        f"Restore {file.parent.name} from a backup, set another adapter, or roll back",
    )
