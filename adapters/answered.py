"""Which release gave which answer, how long it took, whether it refused: no text, bounded in size.

By this an opinion about an answer finds its release, and a canary is compared with what is live.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator, Sequence
from datetime import datetime
from pathlib import Path
from typing import Final, Literal

from pydantic import ValidationError

from adapters.lines import append_line, read_lines
from adapters.locking import exclusive
from adapters.manifest import Pinned
from indexer.settings import Paths, store_errors

FOLDER: Final = "answers"
NEWER, OLDER = "answers.jsonl", "answers.1.jsonl"


class AnsweredLine(Pinned):
    """One answer by its `id`. `caller` and `question` are digests; `key`: that of the caller."""

    id: str
    at: datetime
    release: int
    role: Literal["live", "canary", "pinned"]
    mode: str
    refused: bool
    seconds: float
    tokens_in: int
    tokens_out: int
    caller: str
    question: str
    key: str = ""


class AnsweredLog:
    """One domain's, in two files: when the newer is full it takes the older's place."""

    def __init__(self, paths: Paths, domain: str) -> None:
        self.folder = paths.domain(domain) / FOLDER

    def append(self, lines: Sequence[AnsweredLine], max_bytes: int) -> None:
        """All of them, on their way to the disk when this returns."""
        content = b"\n".join(line.model_dump_json().encode() for line in lines)
        with exclusive(self.folder / ".lock"):
            newer = self.folder / NEWER
            with store_errors(newer):
                self.folder.chmod(0o700)
                if newer.exists() and newer.stat().st_size + len(content) > max_bytes // 2:
                    os.replace(newer, self.folder / OLDER)
            append_line(newer, content, mode=0o600, durable=False)

    def read(self) -> Iterator[AnsweredLine]:
        """Oldest first; halves of lines are passed over."""
        for path in self.files():
            yield from (line for line in read_lines(path, AnsweredLine) if line)

    def find(self, name: str) -> AnsweredLine | None:
        """The newest answer of that id: the files are searched as bytes, and one line is read."""
        wanted = AnsweredId(id=name).model_dump_json().encode()[:-1] + b","
        for path in reversed(self.files()):
            with store_errors(path):
                content = path.read_bytes() if path.exists() else b""
            if (line := _last_line_with(content, wanted)) is not None:
                return line
        return None

    def files(self) -> tuple[Path, Path]:
        """Where they lie, the older first."""
        return self.folder / OLDER, self.folder / NEWER


class AnsweredId(Pinned):
    """How a line begins."""

    id: str


def digest(text: str) -> str:
    """Of a question or a caller: enough to see that two are the same."""
    return hashlib.blake2b(text.encode(errors="replace"), digest_size=12).hexdigest()


def _last_line_with(content: bytes, start: bytes) -> AnsweredLine | None:
    end = len(content)
    while (at := content.rfind(start, 0, end)) >= 0:
        if at == 0 or content[at - 1 : at] == b"\n":
            try:
                return AnsweredLine.model_validate_json(content[at:].split(b"\n", 1)[0])
            except ValidationError:
                pass
        end = at
    return None
