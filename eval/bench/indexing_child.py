"""Runs a program and says what it took, its children included."""

import os
import resource
import subprocess
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import psutil

from indexer.errors import BadInput

_FIRST_SAMPLE, _LAST_SAMPLE = 0.2, 1.5  # seconds apart: to look costs what is looked at time
_MIB = 1024 * 1024


@dataclass(frozen=True, slots=True)
class Took:
    """`cpu` seconds of all its processes that ended, `peak_mb` of them together, in MiB."""

    seconds: float
    cpu: float
    peak_mb: float
    output: str


class DidNotRun(BadInput):
    """The program ended with an error; its last lines say which."""


def run_child(
    command: Sequence[str], cwd: Path, environment: Mapping[str, str] | None = None
) -> Took:
    """Wait for it. Only one at a time: the CPU time is that of all children in the meantime."""
    # A limit on threads that the caller set is not what a program does by itself.
    inherited = {name: value for name, value in os.environ.items() if name != "OMP_NUM_THREADS"}
    before, began = _cpu(), time.perf_counter()
    with subprocess.Popen(
        list(command),
        cwd=cwd,
        env={**inherited, **(environment or {})},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
    ) as process:
        try:
            peak, output = _watch(process)
        except BaseException:
            process.kill()
            raise
    took = Took(time.perf_counter() - began, _cpu() - before, peak / _MIB, output)
    if process.returncode:
        lines = [line for line in output.splitlines() if line.strip()][-1:]
        raise DidNotRun(f"{Path(command[0]).name} ended with {process.returncode}: {lines}")
    return took


def _watch(process: subprocess.Popen[str]) -> tuple[float, str]:
    peak, wait = 0.0, _FIRST_SAMPLE
    while True:
        peak = max(peak, _memory(process.pid))
        try:
            output, _ = process.communicate(timeout=wait)
            return peak, output
        except subprocess.TimeoutExpired:
            wait = min(1.1 * wait, _LAST_SAMPLE)


def _memory(pid: int) -> float:
    """Proportional set sizes, so that pages that processes share count once."""
    total = 0.0
    try:
        parent = psutil.Process(pid)
        for process in (parent, *parent.children(recursive=True)):
            try:
                total += process.memory_full_info().pss
            except psutil.Error:
                continue
    except psutil.Error:
        return total
    return total


def _cpu() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime
