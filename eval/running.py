"""A service of one's own for a measurement: started on free ports, stopped with all its children.

Shared by the tour and the benchmarks; whoever measures a running service gives its URL instead.
"""

import asyncio
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import psutil

from eval.client import Client
from indexer.errors import DslmError

ROOT = Path(__file__).resolve().parent.parent
POLL_SECONDS = 0.25
STOP_SECONDS = 60.0
# Every process that descends from ours inherits it, also one that left our process group.
MARK = "DSLM_STORE"


class DidNotStart(DslmError):
    """The process ended, or was not ready in time."""

    exit_code: ClassVar[int] = 5


@dataclass(frozen=True, slots=True)
class Running:
    """A service that we started; `store` marks its processes."""

    url: str
    engine_url: str
    store: Path
    log: Path
    process: subprocess.Popen[bytes]


def free_port() -> int:
    """A port that nothing listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
    return port


def end_like_ctrl_c() -> None:
    """Let SIGTERM unwind the program as Ctrl-C does: what it started is stopped on the way out."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)


@contextmanager
def running_service(folder: Path, settings: Mapping[str, str] | None = None) -> Iterator[Running]:
    """`dslm serve` with its store and log under `folder`; `settings` are DSLM_* variables."""
    port, engine_port = free_port(), free_port()
    environment = {
        "DSLM_PORT": str(port),
        "DSLM_ENGINE_PORT": str(engine_port),
        "DSLM_STORE": str(folder / "store"),
        **(settings or {}),
    }
    log = folder / "service.log"
    with running_process([sys.executable, "-m", "dslm", "serve"], log, environment) as process:
        engine = environment.get("DSLM_ENGINE_URLS", f"http://127.0.0.1:{engine_port}")
        yield Running(f"http://127.0.0.1:{port}", engine, folder / "store", log, process)


@contextmanager
def running_process(
    command: list[str], log: Path, environment: Mapping[str, str]
) -> Iterator[subprocess.Popen[bytes]]:
    """A child in a process group of its own, stopped at the end of the block."""
    with log.open("wb") as output:
        process = subprocess.Popen(
            command,
            cwd=ROOT,
            env={**os.environ, **environment},
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    try:
        yield process
    finally:
        stop(process)


def stop(process: subprocess.Popen[bytes]) -> None:
    """Ask as Ctrl-C does; after a minute end the whole group."""
    if process.poll() is None:
        process.send_signal(signal.SIGINT)
        try:
            process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()


async def wait_ready(
    client: Client,
    process: subprocess.Popen[bytes],
    log: Path,
    *,
    seconds: float = 900.0,
    report: Callable[[str], None] = lambda _: None,
) -> float:
    """Seconds until ready. New lines of the log are reported meanwhile."""
    began, told = time.monotonic(), 0
    while not await client.is_ready():
        told = _tell(log, told, report)
        if process.poll() is not None or time.monotonic() - began > seconds:
            raise DidNotStart(f"The service did not become ready\n{_tail(log)}", "See above")
        await asyncio.sleep(POLL_SECONDS)
    _tell(log, told, report)
    return time.monotonic() - began


def left_behind(store: Path) -> list[psutil.Process]:
    """Processes that still carry the mark of the service with this store."""
    return [p for p in psutil.process_iter() if _mark(p) == str(store)]


def _mark(process: psutil.Process) -> str | None:
    try:
        if process.pid == os.getpid() or process.status() == psutil.STATUS_ZOMBIE:
            return None
        mark: str | None = process.environ().get(MARK)
        return mark
    except psutil.Error:
        return None


def _tell(log: Path, told: int, report: Callable[[str], None]) -> int:
    """Report the whole lines after byte `told`; how far that went."""
    content = log.read_bytes()[told:]
    whole = content[: content.rfind(b"\n") + 1]
    for line in whole.decode(errors="replace").splitlines():
        report(line)
    return told + len(whole)


def _tail(log: Path, lines: int = 15) -> str:
    return "\n".join(log.read_text(encoding="utf-8", errors="replace").splitlines()[-lines:])
