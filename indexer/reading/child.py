"""A reading process as its owner sees it: started, given files, listened to, ended."""

import contextlib
import os
import select
import signal
import subprocess
import sys
from collections import deque
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import indexer
from indexer.reading.outcome import Reading
from indexer.reading.rules import Rules
from indexer.reading.walk import SourceFile
from indexer.reading.wire import Unpacker, packed, rules_message, source_message, to_reading

_ROOT = Path(indexer.__file__).resolve().parent.parent
_PIECE = 1024 * 1024
_LAST_WORDS = 4000
_FAREWELL = 10.0  # seconds for the kernel to take back what a process had


@dataclass(slots=True, eq=False)
class Job:
    """A file on its way; `sha256` once a process has begun it, `attempts` that ended a process."""

    source: SourceFile
    sha256: str = ""
    attempts: int = 0
    reading: Reading | None = None
    given: bool = False


class Child:
    """One process. `jobs` are those it was given and has not answered, in order."""

    def __init__(self, rules: Rules) -> None:
        self.jobs: deque[Job] = deque()
        self.ready = False
        self.silent = 0.0
        self._unpacker = Unpacker()
        self._words = os.memfd_create("last-words", os.MFD_CLOEXEC)
        self._process = _start(self._words)
        self._send(rules_message(rules))

    def fileno(self) -> int:
        assert self._process.stdout is not None
        return self._process.stdout.fileno()

    @property
    def pid(self) -> int:
        return self._process.pid

    def give(self, job: Job) -> None:
        job.given = True
        self.jobs.append(job)
        self._send(source_message(job.source))

    def hear(self) -> list[Job] | None:
        """The jobs that are now answered; None when the process has ended, or talks nonsense."""
        piece = os.read(self.fileno(), _PIECE)
        answered: list[Job] = []
        try:
            for message in self._unpacker.messages(piece):
                answered.extend(self._take(message))
        except (ValueError, LookupError, TypeError):
            return None
        return answered if piece else None

    def _take(self, message: dict[str, Any]) -> list[Job]:
        if "ready" in message:
            self.ready = True
        elif "begun" in message:
            self.jobs[0].sha256 = message["begun"]
        else:
            self.jobs[0].reading = to_reading(self.jobs[0].source, message)
            return [self.jobs.popleft()]
        return []

    def end(self) -> tuple[int, str]:
        """The exit code (a signal's negative number) and what it said at last."""
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(timeout=_FAREWELL if self._left() else 0)
        self._process.kill()
        code = self._process.wait()
        words = os.pread(self._words, _LAST_WORDS, 0).decode(errors="replace")
        self.close()
        return code, words

    def _left(self) -> bool:
        """It has closed its side: it is about to be gone, by itself or by a signal."""
        poll = select.poll()
        poll.register(self.fileno(), select.POLLIN)
        return any(event & select.POLLHUP for _, event in poll.poll(0))

    def close(self) -> None:
        for stream in (self._process.stdin, self._process.stdout):
            assert stream is not None
            with contextlib.suppress(BrokenPipeError):
                stream.close()
        if self._words >= 0:
            os.close(self._words)
            self._words = -1

    def _send(self, message: dict[str, Any]) -> None:
        """A process that is gone is noticed when it is listened to."""
        assert self._process.stdin is not None
        with contextlib.suppress(BrokenPipeError):
            self._process.stdin.write(packed(message))


def _start(words: int) -> "subprocess.Popen[bytes]":
    paths = [str(_ROOT), *filter(None, [os.environ.get("PYTHONPATH")])]
    quiet = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "RAYON_NUM_THREADS": "1"}
    return subprocess.Popen(
        [sys.executable, "-P", "-m", "indexer.reading.worker", str(os.getpid())],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=words,
        bufsize=0,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(paths), **quiet},
    )


def reason_of(code: int, words: str, rules: Rules) -> str:
    """Why a file that ended the process which read it is left out."""
    limits = rules.limits
    if code == -signal.SIGALRM:
        return f"takes longer than {limits.seconds} s to read"
    if "memory allocation" in words or "MemoryError" in words or "bad_alloc" in words:
        return f"needs more than {limits.memory_mb} MiB of memory"
    name = signal.Signals(-code).name if code < 0 else f"exit code {code}"
    return f"ended the process that read it ({name})"
