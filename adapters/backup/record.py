"""What a backup says about itself: every file with its digest. It stands last in the archive.

Its member's name holds its own digest, so an archive that ends early or was changed shows it.
"""

from __future__ import annotations

import hashlib
import re
from datetime import datetime
from typing import Final

from adapters.manifest import Pinned

FORMAT: Final = 1
FIRST: Final = "DSLM-BACKUP"
LAST: Final = re.compile(r"BACKUP-([0-9a-f]{64})\.json")
INNER: Final = "store/"


class Mark(Pinned):
    """Of one file."""

    sha256: str
    bytes: int


class Opening(Pinned):
    """The archive's first member: enough to refuse what this program cannot read."""

    format: int
    store: int


class Record(Pinned):
    """The last member. `dropped`: documents that were deleted after they had been copied.

    `damaged`: files that are not as the manifests of their snapshots and adapters say.
    """

    made: datetime
    files: dict[str, Mark]
    dropped: tuple[str, ...] = ()
    damaged: tuple[str, ...] = ()

    def member(self) -> tuple[str, bytes]:
        """Its name and bytes."""
        content = self.model_dump_json(indent=1).encode() + b"\n"
        return f"BACKUP-{hashlib.sha256(content).hexdigest()}.json", content
