"""The snapshots of a domain as they lie there, and which of them nobody needs any more."""

import os
import shutil
import tempfile
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from indexer.errors import BadInput, NotFound, StoreError
from indexer.settings import Paths, store_errors, sync_folder
from indexer.store.drafts import DRAFT
from indexer.store.leases import sole
from indexer.store.manifest import FILE_NAME, SnapshotManifest, read_manifest


@dataclass(frozen=True, slots=True)
class Stored:
    """A snapshot's folder. `manifest` is None where it cannot be read; then `trouble` says why."""

    id: str
    path: Path
    made: datetime
    bytes: int
    manifest: SnapshotManifest | None
    trouble: str = ""


def stored(paths: Paths, domain: str) -> list[Stored]:
    """Every published snapshot, newest first."""
    home = paths.snapshots(domain)
    with store_errors(home):
        folders = [f for f in home.iterdir() if f.is_dir()] if home.is_dir() else []
        found = [_look(folder) for folder in folders if not folder.name.startswith(".")]
    return sorted(found, key=lambda one: (one.made, one.id), reverse=True)


def _look(folder: Path) -> Stored:
    manifest, trouble = None, ""
    try:
        _, manifest = read_manifest(folder)
    except StoreError as error:
        trouble = error.message
    marked = folder / FILE_NAME
    time = (marked if marked.exists() else folder).stat().st_mtime
    size = sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())
    return Stored(folder.name, folder, datetime.fromtimestamp(time, UTC), size, manifest, trouble)


def choose(found: Sequence[Stored], name: str) -> Stored:
    """The one whose id is or begins with `name`; NotFound, or BadInput if several do."""
    like = [one for one in found if one.id.startswith(name)]
    exact = [one for one in like if one.id == name]
    if not like:
        known = ", ".join(one.id for one in found) or "none"
        raise NotFound(f"There is no snapshot {name} here", f"Snapshots: {known}")
    if len(like) > 1 and not exact:
        ids = ", ".join(one.id for one in like)
        raise BadInput(f"Several snapshots begin with {name}: {ids}", "Give more of the id")
    return (exact or like)[0]


def in_use(snapshot: Stored) -> bool:
    """Whether a running process has it open."""
    try:
        with sole(snapshot.path) as alone:
            return not alone
    except StoreError:  # it has no manifest: nobody can have opened it
        return False


def removable(found: Sequence[Stored], named: Collection[str], keep: int) -> list[Stored]:
    """Of snapshots, newest first, those that no release names, without the newest `keep` of them.

    What cannot be read is kept for nobody. A running process may still use one: `remove` finds out.
    """
    free = [one for one in found if one.id not in named]
    kept = [one.id for one in free if one.manifest][:keep]
    return [one for one in free if one.id not in kept]


def remove(snapshot: Stored) -> bool:
    """Whether it is gone: not while a running process uses it.

    At once for everyone who looks; what a killed removal leaves is cleared by the next job.
    """
    home = snapshot.path.parent
    with store_errors(snapshot.path):
        if not (snapshot.path / FILE_NAME).exists():
            return _remove(snapshot.path, home)
        with sole(snapshot.path) as alone:
            return alone and _remove(snapshot.path, home)


def _remove(folder: Path, home: Path) -> bool:
    aside = tempfile.mkdtemp(prefix=DRAFT, dir=home)
    os.rename(folder, aside)
    sync_folder(home)
    shutil.rmtree(aside)
    return True
