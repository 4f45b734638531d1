"""Immutable snapshots: written beside, verified in another process, then renamed into place.

A folder under `snapshots/` whose name does not begin with a dot is whole and was verified. The
same content gives the same bytes and the same id.
"""

import os
import shutil
import tempfile
from pathlib import Path

from indexer.errors import StoreError
from indexer.settings import Paths, store_errors, sync_folder
from indexer.store.draft import SnapshotContent, Step, silent, write_files
from indexer.store.drafts import DRAFT, remove_drafts
from indexer.store.opened import Snapshot, open_snapshot
from indexer.store.verify import check_snapshot, verify_snapshot

__all__ = [
    "Snapshot",
    "SnapshotContent",
    "check_snapshot",
    "open_snapshot",
    "remove_drafts",
    "verify_snapshot",
    "write_snapshot",
]


def write_snapshot(paths: Paths, content: SnapshotContent, step: Step = silent) -> str:
    """Write, verify and publish; returns the id. A failure at any point publishes nothing.

    `step` hears of each step; what it raises ends the work like a failure.
    """
    home = paths.snapshots(content.domain)
    with store_errors(home):
        home.mkdir(parents=True, exist_ok=True)
        draft = Path(tempfile.mkdtemp(prefix=DRAFT, dir=home))
    try:
        snapshot_id = write_files(draft, content, step)
        target = paths.snapshot(content.domain, snapshot_id)
        if not _is_whole(target):
            step("verify", 0, 1)
            verify_snapshot(draft, lambda: step("verify", 0, 1))
            step("publish", 0, 1)
            _publish(draft, target)
        return snapshot_id
    finally:
        shutil.rmtree(draft, ignore_errors=True)


def _is_whole(target: Path) -> bool:
    if not target.exists():
        return False
    try:
        verify_snapshot(target)
    except StoreError:
        return False
    return True


def _publish(draft: Path, target: Path) -> None:
    with store_errors(target):
        draft.chmod(0o755)
        if target.exists():  # damaged: out of the way, for the next job to remove
            os.rename(target, tempfile.mkdtemp(prefix=DRAFT, dir=target.parent))
        os.rename(draft, target)
        sync_folder(target.parent)
