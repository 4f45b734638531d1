"""Adapter versions, stored by content and never overwritten; `names.json` lists them by name.

A version's folder appears by one rename, then its digest is appended to its name. What is in the
folder but under no name is the rest of an add that was cut short, and is replaced.
"""

from __future__ import annotations

import difflib
import hashlib
import json
import os
import re
import shutil
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from pydantic import TypeAdapter, ValidationError

from adapters.base import BaseProfile
from adapters.cards import format_of, manifest_of, read_card, version_digest
from adapters.fingerprint import Fingerprint
from adapters.locking import exclusive
from adapters.manifest import (
    CONFIG_FILE,
    MANIFEST_FILE,
    WEIGHTS_FILE,
    AdapterCard,
    AdapterManifest,
    BaseIdentity,
    TrainedWith,
    read_pinned,
    to_json,
)
from adapters.prompt import PromptFormat
from adapters.verify import verify_adapter
from indexer.errors import BadInput, NotFound, StoreError
from indexer.settings import Paths, store_errors, sync_folder, write_atomically

DEFAULT_MAX_RANK: Final = 64
_NAME = re.compile("[a-z][a-z0-9-]{0,40}")
_DIGEST = re.compile("[0-9a-f]{6,64}")
_Names = dict[str, list[str]]
_NAMES_SCHEMA: Final[TypeAdapter[_Names]] = TypeAdapter(_Names)


class AdapterRegistry:
    """The adapters of one store; several processes may read while one adds."""

    def __init__(self, paths: Paths) -> None:
        self._paths = paths

    def add(
        self,
        folder: Path,
        name: str | None = None,
        *,
        base: BaseProfile,
        prompt_format: PromptFormat | None = None,
        trained_with: TrainedWith | None = None,
        dataset_digest: str | None = None,
        note: str | None = None,
        max_rank: int = DEFAULT_MAX_RANK,
        fingerprint: Fingerprint | None = None,
    ) -> AdapterManifest:
        """Verify a PEFT folder and store it as the next version of `name`.

        What is not given is read from the card that training leaves in the folder. Adding the same
        content again changes nothing and returns the version it already has.
        """
        facts = verify_adapter(folder, base, max_rank)
        found = read_card(folder, base)
        card = AdapterCard(
            name=_checked_name(name or (found.name if found else "")),
            base=BaseIdentity(name=base.name, digest=base.digest, parts=dict(base.parts)),
            prompt_format=prompt_format or format_of(found, folder),
            trained_with=trained_with or (found.trained_with if found else TrainedWith()),
            dataset_digest=dataset_digest or (found.dataset_digest if found else ""),
            note=note or (found.note if found else ""),
            training=found.training if found else None,
            merged=found.merged if found else None,
            fingerprint=fingerprint or (found.fingerprint if found else None),
        )
        files = {file: _sha256(folder / file) for file in (CONFIG_FILE, WEIGHTS_FILE)}
        digest = version_digest(card, files)
        with exclusive(self._paths.adapters / ".lock"):
            names = self._names()
            versions = names.setdefault(card.name, [])
            if digest in versions:
                return self._read(digest)
            manifest = manifest_of(card, facts, files, digest, len(versions) + 1)
            self._store(folder, manifest)
            versions.append(digest)
            write_atomically(self._paths.names, (json.dumps(names, indent=2) + "\n").encode())
        return manifest

    def get(self, reference: str) -> AdapterManifest:
        """Find `name` (its newest version), `name@2`, or the beginning of a digest."""
        names = self._names()
        name, _, version = reference.partition("@")
        if name in names:
            return self._read(_version(reference, names[name], version))
        digests = [digest for versions in names.values() for digest in versions]
        matching = [digest for digest in digests if digest.startswith(reference)]
        if _DIGEST.fullmatch(reference) and len(matching) == 1:
            return self._read(matching[0])
        near = difflib.get_close_matches(name, names, n=1)
        known = f"Did you mean {near[0]}? " if near else ""
        raise NotFound(
            f"There is no adapter {reference}",
            f"{known}Known here: {', '.join(names) or 'none yet, add one'}",
        )

    def list(self) -> Sequence[AdapterManifest]:
        """Every version, by name and then from old to new."""
        names = self._names()
        return [self._read(digest) for name in sorted(names) for digest in names[name]]

    def folder(self, manifest: AdapterManifest) -> Path:
        """Where the engine finds the weights."""
        return self._paths.adapter(manifest.digest)

    @property
    def services(self) -> Path:
        """Where the services that use these adapters tell each other that they live."""
        return self._paths.adapters / ".services"

    def engine_name(self, manifest: AdapterManifest) -> str:
        """What the engine knows this version as: never reused, never loaded in place."""
        return engine_name(manifest.name, manifest.digest)

    def _names(self) -> _Names:
        path = self._paths.names
        if not path.exists():
            return {}
        with store_errors(path):
            content = path.read_bytes()
        try:
            return _NAMES_SCHEMA.validate_json(content)
        except ValidationError as error:
            raise StoreError(f"{path} is damaged", "Restore it from a backup") from error

    def _read(self, digest: str) -> AdapterManifest:
        return read_pinned(self._paths.adapter(digest) / MANIFEST_FILE, AdapterManifest)

    def _store(self, folder: Path, manifest: AdapterManifest) -> None:
        """Copy, flush, and publish by rename; the manifest is written last."""
        target = self._paths.adapter(manifest.digest)
        with store_errors(target):
            stage = Path(tempfile.mkdtemp(dir=self._paths.adapters, prefix=".adding-"))
            try:
                for name in manifest.files:
                    _copy(folder / name, stage / name)
                write_atomically(stage / MANIFEST_FILE, to_json(manifest))
                stage.chmod(0o755)
                shutil.rmtree(target, ignore_errors=True)
                stage.rename(target)
            finally:
                shutil.rmtree(stage, ignore_errors=True)
            sync_folder(self._paths.adapters)


def engine_name(name: str, digest: str) -> str:
    """`<name>@<first 12 of the digest>`."""
    return f"{name}@{digest[:12]}"


def _checked_name(name: str) -> str:
    if not _NAME.fullmatch(name):
        raise BadInput(
            f"'{name}' is no adapter name",
            "A name is a lower-case letter, then up to 40 letters, digits or hyphens",
        )
    return name


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _version(reference: str, versions: list[str], version: str) -> str:
    if not version:
        return versions[-1]
    if version.isdecimal() and 1 <= int(version) <= len(versions):
        return versions[int(version) - 1]
    raise NotFound(f"There is no adapter {reference}", f"Its versions are 1 to {len(versions)}")


def _copy(source: Path, target: Path) -> None:
    shutil.copyfile(source, target)
    with target.open("rb+") as file:
        os.fsync(file.fileno())
