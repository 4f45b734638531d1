"""Files that are written once: all of one or nothing, and never over another."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

from indexer.settings import store_errors, sync_folder


def publish_once(path: Path, content: bytes) -> None:
    """Durably, by hard link. StoreError where a file is there already."""
    with store_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(dir=path.parent, prefix=".writing-")
        try:
            with open(handle, "wb") as file:
                os.fchmod(file.fileno(), 0o644)
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            os.link(name, path)
        finally:
            os.unlink(name)
        sync_folder(path.parent)
