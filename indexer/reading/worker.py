"""The process in which files are read, one after another, each within its limits.

Started by a ReaderPool and ended with it. It says "ready", and for each file first that it has
begun it, then what it gave. Whatever goes wrong with a file costs this process at most.
"""

import contextlib
import hashlib
import os
import resource
import signal
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import BinaryIO

from indexer.lifeline import die_with
from indexer.reading.confined import forbid_network_and_programs
from indexer.reading.opening import Unopened, content_of, reading_of
from indexer.reading.outcome import Reading
from indexer.reading.rules import MIB, Rules
from indexer.reading.walk import SourceFile
from indexer.reading.wire import packed, read_message, reading_message, to_rules, to_source
from indexer.records import Rejected

# What may be written in all: the last words of a library that gives up, to standard error.
_WRITTEN = MIB
# Above this much memory kept after a file the process ends, and a fresh one goes on.
_KEPT = 256 * MIB


def main(parent: int) -> None:
    """Reads until the other side closes, or until it has grown too large to go on."""
    die_with(parent)
    requests, answers = _channels()
    first = read_message(requests)
    if first is None:
        return
    rules = to_rules(first)
    _limit(rules)
    answers.write(packed({"ready": True}))
    while (message := read_message(requests)) is not None:
        reading, whole = _read(to_source(message), rules, answers)
        answers.write(packed(reading_message(reading)))
        if not whole or _resident() > _KEPT:
            return


def _channels() -> tuple[BinaryIO, BinaryIO]:
    """The pipes; what libraries print or ask goes nowhere."""
    requests, answers = os.dup(0), os.dup(1)
    nothing = os.open(os.devnull, os.O_RDWR)
    os.dup2(nothing, 0)
    os.dup2(nothing, 1)
    os.close(nothing)
    return open(requests, "rb"), open(answers, "wb", buffering=0)


def _limit(rules: Rules) -> None:
    """Private memory is what a bomb fills. RLIMIT_AS would count the libraries' mapped files
    and reserved stacks too, and a watch on the resident size comes too late."""
    _cap(resource.RLIMIT_CORE, 0)
    _cap(resource.RLIMIT_FSIZE, _WRITTEN)
    _cap(resource.RLIMIT_DATA, _status("VmData") + rules.limits.memory_mb * MIB)
    forbid_network_and_programs()


def _cap(kind: int, most: int) -> None:
    hard = resource.getrlimit(kind)[1]
    resource.setrlimit(kind, (most if hard == resource.RLIM_INFINITY else min(most, hard), hard))


def _read(source: SourceFile, rules: Rules, answers: BinaryIO) -> tuple[Reading, bool]:
    """What the file gave, and whether this process can go on."""
    started = time.monotonic()
    _forget_peak()
    signal.setitimer(signal.ITIMER_REAL, rules.limits.seconds)  # not handled: it ends the process
    reading, whole = _guarded(source, rules, answers)
    signal.setitimer(signal.ITIMER_REAL, 0)
    memory = _status("VmHWM") // MIB
    return replace(reading, seconds=time.monotonic() - started, memory=memory), whole


def _forget_peak() -> None:
    with contextlib.suppress(OSError):  # a kernel without it tells the peak of all files so far
        Path("/proc/self/clear_refs").write_text("5", encoding="ascii")


def _guarded(source: SourceFile, rules: Rules, answers: BinaryIO) -> tuple[Reading, bool]:
    sha256 = ""
    try:
        content = content_of(source, rules)
        sha256 = hashlib.sha256(content).hexdigest()
        answers.write(packed({"begun": sha256}))
        return reading_of(source, content, sha256, rules), True
    except Unopened as error:
        return _rejected(source, sha256, str(error)), True
    except MemoryError:
        reason = f"needs more than {rules.limits.memory_mb} MiB of memory"
        return _rejected(source, sha256, reason), False
    except RecursionError:
        return _rejected(source, sha256, "nests deeper than can be read"), True
    except BaseException as error:  # a reader's mistake, or the panic of a library in Rust
        reason = f"cannot be read: {type(error).__name__}: {error}"
        return _rejected(source, sha256, reason[:300]), True


def _rejected(source: SourceFile, sha256: str, reason: str) -> Reading:
    return Reading(source, sha256, [], [Rejected(source.path, reason)])


def _resident() -> int:
    with open("/proc/self/statm", "rb") as file:
        return int(file.read().split()[1]) * resource.getpagesize()


def _status(name: str) -> int:
    """In bytes. VmData is what RLIMIT_DATA counts, VmHWM the most that was resident."""
    with open("/proc/self/status", encoding="ascii") as file:
        line = next(line for line in file if line.startswith(f"{name}:"))
    return int(line.split()[1]) * 1024


if __name__ == "__main__":
    main(int(sys.argv[1]))
