"""What a mirror said beside what the caller got: kept to be compared, bounded in size.

The texts of both answers are kept, of the question a digest, itself only where that is wanted. They
may quote what callers wrote, so the files are readable by their owner alone.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path

from adapters.lines import append_line, read_lines
from adapters.locking import exclusive
from adapters.manifest import Pinned
from indexer.settings import Paths, store_errors

FOLDER = "mirror"
NEWER, OLDER = "answers.jsonl", "answers.1.jsonl"


class Said(Pinned):
    """One answer; `error` instead of a text where there is none. `documents`: its passages'."""

    release: int
    mode: str = ""
    text: str = ""
    finish: str = ""
    documents: tuple[str, ...] = ()
    seconds: float | None = None
    error: str = ""


class Comparison(Pinned):
    """One line of the file; `question` is a digest of the whole request.

    `asked` is the last question itself, where the mirror keeps it.
    """

    at: datetime
    question: str
    same: bool
    live: Said
    mirror: Said
    asked: str = ""


class Mirrored:
    """One domain's comparisons, in two files: when the newer is full it takes the older's place."""

    def __init__(self, paths: Paths, domain: str) -> None:
        self.folder = paths.domain(domain) / FOLDER

    def append(self, comparison: Comparison, max_bytes: int) -> bool:
        """Whether it is kept: not if it alone takes more than half of `max_bytes`."""
        line = comparison.model_dump_json().encode()
        with exclusive(self.folder / ".lock"):
            self.folder.chmod(0o700)
            if len(line) + 2 > max_bytes // 2:
                return False
            newer = self.folder / NEWER
            with store_errors(newer):
                if newer.exists() and newer.stat().st_size + len(line) + 2 > max_bytes // 2:
                    os.replace(newer, self.folder / OLDER)
            append_line(newer, line, mode=0o600, durable=False)
        return True

    def read(self) -> Iterator[Comparison | None]:
        """Oldest first; None for a line that is none."""
        for path in self.files():
            yield from read_lines(path, Comparison)

    def files(self) -> tuple[Path, Path]:
        """Where they lie, the older first."""
        return self.folder / OLDER, self.folder / NEWER
