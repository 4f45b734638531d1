"""Notes which release gave which answer: at once in memory, within a second in the store.

An answer must not wait for a disk, so lines are written together on a thread; what a killed service
had not written yet is lost, and what is beyond the bound is counted as lost.
"""

import asyncio
import logging
from collections import deque
from datetime import UTC, datetime
from typing import Any

from adapters.answered import AnsweredLine, AnsweredLog, digest
from indexer.errors import StoreError
from indexer.settings import Paths
from service.answer.affinity import affinity
from service.answer.plan import Plan
from service.answer.request import ChatRequest
from service.release_meters import ReleaseMeters

log = logging.getLogger("dslm.answered")
MIB = 1024 * 1024
WAIT_SECONDS = 0.5
MOST_WAITING = 20_000
Waiting = tuple[str, AnsweredLine]


class AnswerNotes:
    """Owns the lines that wait to be written. `max_mb` 0: nothing is noted."""

    def __init__(self, paths: Paths, max_mb: int, meters: ReleaseMeters) -> None:
        self._paths = paths
        self._max_bytes = max_mb * MIB
        self._lost = meters.notes_lost
        self._waiting: deque[Waiting] = deque()
        self._writing: deque[Waiting] = deque()

    def note(self, plan: Plan, reply: dict[str, Any] | None, seconds: float, key: str) -> None:
        """An answer that the caller has got whole; `reply` is None where it was streamed."""
        role = plan.role
        if not self._max_bytes or plan.opened is None or role is None or role == "mirror":
            return
        name = reply.get("id") if reply else plan.streamed_id()
        if not name:
            return
        if len(self._waiting) >= MOST_WAITING:
            self._waiting.popleft()
            self._lost.inc()
        spent = plan.spent()
        line = AnsweredLine(
            id=str(name),
            at=datetime.now(UTC),
            release=plan.opened.release.number,
            role=role,
            mode=plan.mode,
            refused=plan.was_refused(),
            seconds=round(seconds, 4),
            tokens_in=spent.get("prompt_tokens") or 0,
            tokens_out=spent.get("completion_tokens") or 0,
            caller=digest(affinity(plan.request)),
            question=digest(_asked(plan)),
            key=key,
        )
        self._waiting.append((plan.domain, line))

    def find(self, domain: str, name: str) -> AnsweredLine | None:
        """The newest answer of that id, also one that waits to be written. Reads files."""
        # In this order: what leaves a queue meanwhile is already where is looked next.
        for queue in (self._waiting, self._writing):
            for waiting, line in reversed(tuple(queue)):
                if (waiting, line.id) == (domain, name):
                    return line
        return AnsweredLog(self._paths, domain).find(name)

    async def run(self) -> None:
        """Write what waits, until cancelled; then the rest."""
        try:
            while True:
                await asyncio.sleep(WAIT_SECONDS)
                if self._waiting:
                    self._take()
                    await asyncio.to_thread(self._write)
        finally:
            self._write()
            self._take()
            self._write()

    def _take(self) -> None:
        self._writing = self._waiting
        self._waiting = deque()

    def _write(self) -> None:
        """What the disk does not take is lost, counted and told."""
        taken: dict[str, list[AnsweredLine]] = {}
        for domain, line in self._writing:
            taken.setdefault(domain, []).append(line)
        for domain, lines in taken.items():
            try:
                AnsweredLog(self._paths, domain).append(lines, self._max_bytes)
            except StoreError as error:
                self._lost.inc(len(lines))
                log.warning("which release answered is not noted for %s: %s", domain, error)
        self._writing = deque()


def _asked(plan: Plan) -> str:
    """What the last turn said; of a legacy completion its prompt."""
    request = plan.request
    if isinstance(request, ChatRequest):
        return request.messages[-1].text().strip()
    return request.prompt.strip() if isinstance(request.prompt, str) else repr(request.prompt)
