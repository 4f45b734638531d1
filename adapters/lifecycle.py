"""What an adapter version is - draft, verified, gated, live, retired - and who made it so, and why.

The record lies beside the version's folder, never in it, one line a change, only ever appended.
Whether a version is live is told by what its domains answer with now, not by the record.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Final, Literal

from adapters.audit import Cause, written
from adapters.lines import append_line, read_lines
from adapters.locking import exclusive
from adapters.manifest import Pinned
from indexer.settings import Paths

if TYPE_CHECKING:
    from adapters.pins import AdapterPin, Release

State = Literal["draft", "verified", "gated", "live", "retired"]
FOLDER: Final = ".records"


class Event(Pinned):
    """One change: `state` is what the version was from then on.

    `domain` and `release` say by what it became gated or live; `report` is the gate report's
    digest.
    """

    at: datetime
    state: State
    who: str
    why: str = ""
    domain: str = ""
    release: int | None = None
    report: str = ""


class Lifecycle:
    """The records of one store's versions; several processes and machines may append."""

    def __init__(self, paths: Paths) -> None:
        self._folder = paths.adapters / FOLDER

    def file(self, digest: str) -> Path:
        return self._folder / f"{digest}.jsonl"

    def record(
        self,
        digest: str,
        state: State,
        cause: Cause,
        *,
        release: Release | None = None,
        report: str = "",
    ) -> Event:
        """Durably; StoreError if it cannot be written."""
        event = Event(
            at=datetime.now(UTC),
            state=state,
            who=written(cause.who),
            why=written(cause.why),
            domain=release.domain if release else "",
            release=release.number if release else None,
            report=report,
        )
        with exclusive(self._folder / ".lock"):
            append_line(self.file(digest), event.model_dump_json(exclude_defaults=True).encode())
        return event

    def events(self, digest: str) -> Sequence[Event]:
        """Oldest first, without halves of lines of killed processes."""
        return [event for event in read_lines(self.file(digest), Event) if event]

    def state(self, digest: str, *, is_live: bool) -> State:
        """A version without a record was verified when it was added: nothing else is stored."""
        if is_live:
            return "live"
        events = self.events(digest)
        last = events[-1].state if events else "verified"
        return "retired" if last == "live" else last

    def switched(self, old: Release | None, new: Release, cause: Cause) -> None:
        """A domain is about to answer by `new` instead of `old`: note it for their versions."""
        before = old.adapter.digest if old and old.adapter else None
        after = new.adapter.digest if new.adapter else None
        if after and after != before:
            self.record(after, "live", cause, release=new)
        if before and before != after:
            self.record(before, "retired", cause, release=old)

    def passed(self, pin: AdapterPin | None, release: Release, report: str, cause: Cause) -> None:
        """A release with this version has passed its domain's gate."""
        if pin:
            self.record(pin.digest, "gated", cause, release=release, report=report)
