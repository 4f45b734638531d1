"""Adapter versions, stored by content and never overwritten; `names.json` lists them by name.

A version's folder appears by one rename, then its digest is appended to its name. What is in the
folder but under no name is the rest of an add that was cut short, and is replaced.
"""

from __future__ import annotations

import contextlib
import difflib
import json
import re
import shutil
import tempfile
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Final

from pydantic import TypeAdapter, ValidationError

from adapters.audit import Cause, this_user
from adapters.base import BaseProfile
from adapters.cards import format_of, manifest_of, read_card, version_digest
from adapters.fingerprint import Fingerprint
from adapters.intake import copy_file, verified_files
from adapters.lease import ReleaseLease
from adapters.lifecycle import Lifecycle, State
from adapters.locking import exclusive
from adapters.manifest import (
    MANIFEST_FILE,
    AdapterCard,
    AdapterManifest,
    BaseIdentity,
    ImportRecord,
    TrainedWith,
    read_pinned,
    to_json,
)
from adapters.prompt import PromptFormat
from indexer.errors import BadInput, NotFound, StoreError
from indexer.settings import Paths, store_errors, sync_folder, write_atomically

DEFAULT_MAX_RANK: Final = 64
_NAME = re.compile("[a-z][a-z0-9-]{0,40}")
_LEFT: Final = (".adding-", ".removing-")
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
        imported: ImportRecord | None = None,
        draft: bool = False,
        cause: Cause | None = None,
    ) -> AdapterManifest:
        """Verify a PEFT folder and store it as the next version of `name`.

        What is not given is read from the card that training leaves in the folder. Adding the same
        content again changes nothing and returns the version it already has. No release takes a
        `draft`; the `cause` goes into its record.
        """
        facts, files = verified_files(folder, base, max_rank)
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
            imported=imported,
            fingerprint=fingerprint or (found.fingerprint if found else None),
        )
        digest = version_digest(card, files)
        with self.locked():
            names = self._names()
            versions = names.setdefault(card.name, [])
            if digest in versions and not self._is_collected(digest):
                return self._read(digest)
            number = versions.index(digest) if digest in versions else len(versions)
            manifest = manifest_of(card, facts, files, digest, number + 1)
            self._store(folder, manifest)
            state: State = "draft" if draft else "verified"
            Lifecycle(self._paths).record(digest, state, cause or this_user(card.note))
            if digest not in versions:
                versions.append(digest)
                write_atomically(self._paths.names, (json.dumps(names, indent=2) + "\n").encode())
            self.tombstone(digest).unlink(missing_ok=True)
        return manifest

    def get(self, reference: str) -> AdapterManifest:
        """Find `name` (its newest version), `name@2`, or the beginning of a digest."""
        names = self._names()
        name, _, version = reference.partition("@")
        if name in names:
            there = [one for one in names[name] if version or not self._is_collected(one)]
            return self._read(_version(reference, there or names[name], version))
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
        """Every version that is there, by name and then from old to new."""
        names = self._names()
        digests = [digest for name in sorted(names) for digest in names[name]]
        return [self._read(digest) for digest in digests if not self._is_collected(digest)]

    def lease(self, manifest: AdapterManifest) -> ReleaseLease:
        """Use a version's files: nobody removes them before its `end`, or before our own end."""
        return ReleaseLease(self.folder(manifest) / MANIFEST_FILE)

    def locked(self) -> contextlib.AbstractContextManager[None]:
        """Until it ends nobody adds or removes a version."""
        return exclusive(self._paths.adapters / ".lock")

    def tombstone(self, digest: str) -> Path:
        """The manifest of a version whose files were removed: its number stays taken."""
        return self._paths.adapters / ".collected" / f"{digest}.json"

    def line(self, name: str) -> Sequence[AdapterManifest]:
        """Every version of a name, oldest first, also those whose files were removed."""
        folders = {one: self._paths.adapter(one) for one in self._names().get(name, [])}
        files = [
            self.tombstone(digest) if self._is_collected(digest) else folder / MANIFEST_FILE
            for digest, folder in folders.items()
        ]
        return [read_pinned(file, AdapterManifest) for file in files]

    def take_names(self, name: str, digests: Sequence[str]) -> None:
        """While locked: these are the versions of `name`, as another store counts them.

        StoreError where this store has given a number to another version itself.
        """
        names = self._names()
        known = names.setdefault(name, [])
        both = min(len(known), len(digests))
        if known[:both] != list(digests[:both]):
            remedy = "One store makes the versions of a name; give the other's another name"
            raise StoreError(f"{name} has other versions in this store", remedy)
        known.extend(digests[both:])
        write_atomically(self._paths.names, (json.dumps(names, indent=2) + "\n").encode())

    def unnamed(self) -> Sequence[Path]:
        """What adds and removals that were cut short left behind; to be asked while locked."""
        known = {digest for versions in self._names().values() for digest in versions}
        with store_errors(self._paths.adapters):
            found = sorted(one for one in self._paths.adapters.glob("*") if one.is_dir())
        return [one for one in found if one.name.startswith(_LEFT) or _is_lost(one.name, known)]

    def remove(self, manifest: AdapterManifest) -> None:
        """At once for all who look, while locked and used by nobody. The manifest is kept."""
        folder = self.folder(manifest)
        write_atomically(self.tombstone(manifest.digest), to_json(manifest))
        with store_errors(folder):
            gone = folder.with_name(f".removing-{manifest.digest}")
            folder.rename(gone)
            shutil.rmtree(gone)
            sync_folder(self._paths.adapters)

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

    def _is_collected(self, digest: str) -> bool:
        return self.tombstone(digest).exists() and not self._paths.adapter(digest).exists()

    def _read(self, digest: str) -> AdapterManifest:
        if self._is_collected(digest):
            label = read_pinned(self.tombstone(digest), AdapterManifest).label
            raise NotFound(f"The files of {label} were removed", "Train it or import it again")
        return read_pinned(self._paths.adapter(digest) / MANIFEST_FILE, AdapterManifest)

    def _store(self, folder: Path, manifest: AdapterManifest) -> None:
        """Copy, flush, and publish by rename; the manifest is written last."""
        target = self._paths.adapter(manifest.digest)
        with store_errors(target):
            stage = Path(tempfile.mkdtemp(dir=self._paths.adapters, prefix=".adding-"))
            try:
                for name, digest in manifest.files.items():
                    copy_file(folder / name, stage / name, digest)
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


def _version(reference: str, versions: list[str], version: str) -> str:
    if not version:
        return versions[-1]
    if version.isdecimal() and 1 <= int(version) <= len(versions):
        return versions[int(version) - 1]
    raise NotFound(f"There is no adapter {reference}", f"Its versions are 1 to {len(versions)}")


def _is_lost(name: str, known: Collection[str]) -> bool:
    return re.fullmatch("[0-9a-f]{64}", name) is not None and name not in known
