"""What of a store belongs into a backup, and how it is held still while it is read.

Pointers and small files of every domain are read at one moment, under the locks of all who change
them; what they name is immutable and leased, so that nobody removes it while it is copied. What is
left out can be made again or belongs to a running process: logs, training runs, locks, drafts.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Final

from adapters.lease import ReleaseLease
from adapters.lifecycle import FOLDER as RECORDS
from adapters.manifest import MANIFEST_FILE
from adapters.registry import AdapterRegistry
from adapters.release import ReleaseStore
from adapters.versioning import FILE_NAME as VERSION
from indexer.errors import StoreError
from indexer.settings import Paths, store_errors

CATALOG: Final = "catalog.db"
TOMBSTONES: Final = "tombstones.json"
_KEPT_HIDDEN: Final = (RECORDS, ".collected")
_LEFT_OUT: Final = ("logs", "training", "keys.lock")
_OF_PROCESSES: Final = ("index.lock", f"{CATALOG}-wal", f"{CATALOG}-shm", f"{CATALOG}-journal")
# Whatever lies in a domain's folder itself, or in these, is read under its lock.
_SMALL: Final = ("releases", "gate")


@dataclass(frozen=True, slots=True)
class Contents:
    """`held`: small files by name, as they were at one moment. `files`: names read as they come.

    `catalogs` are databases, `tombstones` are read last of all.
    """

    held: dict[str, bytes]
    files: list[str]
    catalogs: list[str]
    tombstones: list[str]


@contextlib.contextmanager
def gathered(paths: Paths) -> Iterator[Contents]:
    """What to copy; snapshots and adapter versions cannot be removed until this ends."""
    if not paths.root.is_dir():
        raise StoreError(f"There is no store at {paths.root}", "Name it by DSLM_STORE")
    store, registry = ReleaseStore(paths), AdapterRegistry(paths)
    with contextlib.ExitStack() as leases:
        with contextlib.ExitStack() as locks:  # in the order in which all who take several do
            for domain in _domains(paths):
                locks.enter_context(store.unchanged(domain))
            locks.enter_context(registry.locked())
            every = sorted(_walk(paths.root, PurePosixPath()))
            held = {name: _read(paths.root / name) for name in every if _is_small(name)}
            gone = _leased(paths, leases)
        rest = [name for name in every if name not in held and not _is_below(name, gone)]
        yield Contents(
            held=held,
            files=[name for name in rest if _last(name) not in (CATALOG, TOMBSTONES)],
            catalogs=[name for name in rest if _last(name) == CATALOG],
            tombstones=[name for name in rest if _last(name) == TOMBSTONES],
        )


def size(paths: Paths, contents: Contents) -> int:
    """Bytes, about: what changes meanwhile is as it is now."""
    names = (*contents.files, *contents.catalogs, *contents.tombstones)
    found = [paths.root / name for name in names]
    there = sum(path.stat().st_size for path in found if path.exists())
    return there + sum(map(len, contents.held.values()))


def is_wanted(path: PurePosixPath) -> bool:
    """Does this name, relative to the store, belong into a backup?"""
    parts = path.parts
    if any(part.startswith(".") and part not in _KEPT_HIDDEN for part in parts):
        return False
    if parts[0] in _LEFT_OUT:
        return False
    return not (parts[0] == "domains" and len(parts) == 3 and parts[2] in _OF_PROCESSES)


def _domains(paths: Paths) -> list[str]:
    home = paths.root / "domains"
    if not home.is_dir():
        return []
    return sorted(one.name for one in home.iterdir() if one.is_dir() and one.name[0] != ".")


def _walk(root: Path, below: PurePosixPath) -> Iterator[str]:
    """Names of wanted files. A folder may be a link to another disk; what it leads to is copied."""
    with store_errors(root / below):
        try:
            entries = list(os.scandir(root / below))
        except FileNotFoundError:  # removed since it was seen
            return
    for entry in entries:
        path = below / entry.name
        if not is_wanted(path):
            continue
        if entry.is_dir():
            yield from _walk(root, path)
        elif entry.is_file():
            yield str(path)


def _is_small(name: str) -> bool:
    """Pointers, releases, reports of the gate, audits, the adapters' names and records."""
    parts = PurePosixPath(name).parts
    if parts[0] == "domains":
        own = len(parts) == 3 and parts[2] not in (CATALOG, TOMBSTONES)
        return own or (len(parts) == 4 and parts[2] in _SMALL)
    loose = parts[0] == "adapters" and (len(parts) == 2 or parts[1] in _KEPT_HIDDEN)
    return loose or name == VERSION


def _last(name: str) -> str:
    """Of a file in a domain's own folder its name: an upload may be called anything."""
    parts = PurePosixPath(name).parts
    return parts[2] if parts[0] == "domains" and len(parts) == 3 else ""


def _leased(paths: Paths, leases: contextlib.ExitStack) -> tuple[str, ...]:
    """Hold every snapshot and adapter version; the names of those that are being removed."""
    gone = []
    for folder in _immutable(paths):
        try:
            leases.callback(ReleaseLease(folder / MANIFEST_FILE).end)
        except StoreError:
            if not (folder / MANIFEST_FILE).exists():
                gone.append(folder.relative_to(paths.root).as_posix())
            else:
                raise
    return tuple(gone)


def _immutable(paths: Paths) -> Iterator[Path]:
    homes = [*(paths.snapshots(domain) for domain in _domains(paths)), paths.adapters]
    for home in homes:
        if home.is_dir():
            yield from sorted(one for one in home.glob("[!.]*") if one.is_dir())


def _is_below(name: str, folders: tuple[str, ...]) -> bool:
    return any(name.startswith(f"{folder}/") for folder in folders)


def _read(path: Path) -> bytes:
    with store_errors(path):
        return path.read_bytes()
