"""Who changed what answers for a domain, when and why: one JSON line a change, only ever appended.

An entry is on the disk before its change is made, so there is no change without one. After a crash
in between, the last entry names a change that was not made; the next one's `from` tells.
"""

from __future__ import annotations

import contextlib
import os
import pwd
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Literal

from pydantic import ConfigDict, Field

from adapters.lines import append_line, read_lines
from adapters.manifest import Pinned
from indexer.errors import DslmError
from indexer.settings import Paths

FILE_NAME = "AUDIT.jsonl"
Action = Literal[
    "create",
    "activate",
    "rollback",
    "canary",
    "promote",
    "drop",
    "mirror",
    "unmirror",
    "prune",
    "failed",
]


@dataclass(frozen=True, slots=True)
class Cause:
    """Who makes a change, and why."""

    who: str
    why: str = ""


def this_user(why: str = "") -> Cause:
    """The user that this process runs as, as the system knows it: no variable can change that."""
    number = os.getuid()
    try:
        return Cause(f"user:{pwd.getpwuid(number).pw_name}", why)
    except KeyError:
        return Cause(f"user:{number}", why)


class Entry(Pinned):
    """One change. `from` and `to` are numbers of releases; `failed` follows the entry it is about.

    `more`: what else decides, such as a canary's share.
    """

    model_config = ConfigDict(populate_by_name=True)

    at: datetime
    domain: str
    action: Action
    old: int | None = Field(validation_alias="from", serialization_alias="from")
    new: int | None = Field(validation_alias="to", serialization_alias="to")
    who: str
    why: str = ""
    more: dict[str, Any] = Field(default_factory=dict)

    def line(self) -> bytes:
        """As it stands in the file."""
        return self.model_dump_json(by_alias=True).encode()


class Audit:
    """One domain's file; who appends must hold the domain's lock."""

    def __init__(self, paths: Paths, domain: str) -> None:
        self.path = paths.live(domain).with_name(FILE_NAME)
        self._domain = domain

    @contextlib.contextmanager
    def change(
        self,
        action: Action,
        cause: Cause,
        *,
        old: int | None,
        new: int | None,
        more: Mapping[str, Any] | None = None,
    ) -> Iterator[None]:
        """Write the entry, then let the change be made; if that fails, say so in another entry."""
        entry = Entry(
            at=datetime.now(UTC),
            domain=self._domain,
            action=action,
            old=old,
            new=new,
            who=written(cause.who),
            why=written(cause.why),
            more=dict(more or {}),
        )
        self.append(entry)
        try:
            yield
        except DslmError as error:
            failed = {"action": "failed", "why": str(error), "at": datetime.now(UTC)}
            with contextlib.suppress(DslmError):  # on a full disk the first error is the one to see
                self.append(entry.model_copy(update=failed))
            raise

    def append(self, entry: Entry) -> None:
        """Durably."""
        append_line(self.path, entry.line())

    def read(self) -> tuple[list[Entry], int]:
        """Every entry, oldest first, and how many lines are none: halves of killed processes."""
        lines = list(read_lines(self.path, Entry))
        found = [entry for entry in lines if entry]
        return found, len(lines) - len(found)


def written(text: str) -> str:
    """As it can be stored: what a terminal gave may be no text at all."""
    return text.encode(errors="replace").decode()


def describe(entry: Entry) -> dict[str, Any]:
    """As the API shows it."""
    return entry.model_dump(mode="json", by_alias=True)
