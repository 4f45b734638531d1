"""Files to documents, in the order given, each within its limits and in another process.

Every format is read there, plain ones too: what a process costs is shared by many files, two of
them read as fast as two cores go, and no file of any kind can stop the job.
"""

import hashlib
import os
import select
import signal
import time
from collections import deque
from collections.abc import Iterable, Iterator
from importlib.metadata import version
from types import TracebackType
from typing import Self

from indexer.domain import Domain
from indexer.errors import DslmError
from indexer.reading.child import Child, Job, reason_of
from indexer.reading.outcome import Reading
from indexer.reading.rules import MIB, rules_of
from indexer.reading.walk import SourceFile
from indexer.records import Rejected

__all__ = ["READER_VERSION", "ReaderPool", "Reading", "reader_identity"]

# Part of what decides whether a stored document is still good: raise it when reading changes.
READER_VERSION = "3"
_LIBRARIES = (
    "chardet",
    "kreuzberg",
    "markdown-it-py",
    "msoffcrypto-tool",
    "pypdfium2",
    "python-calamine",
    "pyyaml",
    "selectolax",
)
_MOST_PROCESSES = 4
# Given to one process ahead of its answers, so that it need not wait for the next.
_AHEAD = 4
# Under way at once: what bounds memory when the first of them is slow.
_WINDOW, _WINDOW_BYTES = 32, 64 * MIB
# A file that ended its process is given to a second one: the first may have been killed by chance.
_ATTEMPTS = 2
# Seconds beyond its own limit after which a process that says nothing is ended from here.
_GRACE = 10.0
_TICK = 1.0


def reader_identity(domain: Domain) -> str:
    """16 hex digits; others whenever reading the same bytes may give something else.

    BadInput: the file of passwords cannot be read.
    """
    rules = rules_of(domain)
    parts = [
        READER_VERSION,
        *(version(library) for library in _LIBRARIES),
        rules.fields.model_dump_json(),
        rules.limits.model_dump_json(),
        *rules.passwords,
    ]
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()[:16]


class ReaderPool:
    """Reads any number of files; `read` may be called again and again, by one at a time.

    Processes start with the first files and end with the pool, or with the thread that started
    them. BadInput: the file of passwords cannot be read.
    """

    def __init__(self, domain: Domain, processes: int | None = None) -> None:
        self._rules = rules_of(domain)
        self._most = processes or min(len(os.sched_getaffinity(0)), _MOST_PROCESSES)
        self._children: list[Child] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        while self._children:
            self._children.pop().end()

    def read(self, files: Iterable[SourceFile]) -> Iterator[Reading]:
        """One reading for each file, in the order given; few files are under way at once.

        DslmError: no process that reads can be started.
        """
        window = _Window(iter(files))
        try:
            while job := window.first():
                while job.reading is None:
                    self._give(window)
                    self._listen(window)
                window.jobs.popleft()
                yield job.reading
        finally:
            self._forget()

    def _forget(self) -> None:
        """End what still reads for someone who no longer waits."""
        for child in [child for child in self._children if child.jobs]:
            self._children.remove(child)
            child.end()

    def _give(self, window: "_Window") -> None:
        for job in window.waiting():
            child = min(self._children, key=lambda c: len(c.jobs), default=None)
            if child is None or (child.jobs and len(self._children) < self._most):
                child = Child(self._rules)
                self._children.append(child)
            if len(child.jobs) >= _AHEAD:
                return
            child.give(job)

    def _listen(self, window: "_Window") -> None:
        busy = [child for child in self._children if child.jobs]
        started = time.monotonic()
        heard = _ready(busy)
        waited = time.monotonic() - started
        for child in busy:
            child.silent = 0.0 if child in heard else child.silent + waited
            if child in heard and child.hear() is None:
                self._children.remove(child)
                self._bury(child, *child.end(), window)
            elif child.silent > self._rules.limits.seconds + _GRACE:
                self._children.remove(child)
                child.end()
                self._bury(child, -signal.SIGALRM, "", window)

    def _bury(self, child: Child, code: int, words: str, window: "_Window") -> None:
        """What it was reading is to blame, unless it ended of itself; the rest goes to others."""
        if not child.ready:
            raise DslmError(
                f"The process that reads documents does not start (exit code {code}): {words}",
                "Check the installation: python -m indexer.reading.worker 1",
            )
        for job in child.jobs:
            job.given = False
        if child.jobs and code != 0:
            first = child.jobs[0]
            first.attempts += 1
            if code == -signal.SIGALRM or first.attempts >= _ATTEMPTS:
                first.reading = _refusal(first, reason_of(code, words, self._rules))


def _ready(children: list[Child]) -> list[Child]:
    """Those that have something to say; none after a while. Any number of open files is fine."""
    poll = select.poll()
    for child in children:
        poll.register(child.fileno(), select.POLLIN)
    ready = {descriptor for descriptor, _ in poll.poll(_TICK * 1000)}
    return [child for child in children if child.fileno() in ready]


def _refusal(job: Job, reason: str) -> Reading:
    return Reading(job.source, job.sha256, [], [Rejected(job.source.path, reason)])


class _Window:
    """The files that are under way, in order; it takes further ones as far as there is room."""

    def __init__(self, files: Iterator[SourceFile]) -> None:
        self.jobs: deque[Job] = deque()
        self._files = files

    def first(self) -> Job | None:
        size = sum(job.source.size for job in self.jobs)
        while len(self.jobs) < _WINDOW and (size < _WINDOW_BYTES or not self.jobs):
            source = next(self._files, None)
            if source is None:
                break
            size += source.size
            self.jobs.append(Job(source))
        return self.jobs[0] if self.jobs else None

    def waiting(self) -> Iterator[Job]:
        return (job for job in self.jobs if not job.given and job.reading is None)
