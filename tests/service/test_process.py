"""An engine's process ends whole: with its workers, and with the service even if that is killed."""

import asyncio
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from service.engines.process import EngineProcess
from tests.live import ROOT

WITH_WORKER = """
import subprocess, sys, time
worker = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
print("worker", worker.pid, flush=True)
time.sleep(60)
"""
PARENT = """
import subprocess, sys, time
child = subprocess.Popen([sys.executable, "-c", sys.argv[1]])
print(child.pid, flush=True)
time.sleep(60)
"""
FOLLOWER = """
from service.engines.launch import follow_parent
import time
follow_parent()
print("following", flush=True)
time.sleep(60)
"""


def gone(pid: int) -> bool:
    """Ended, or only waiting for somebody to ask how."""
    try:
        return bool(psutil.Process(pid).status() == psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return True


def wait_until_gone(pid: int) -> None:
    end = time.monotonic() + 20
    while not gone(pid):
        assert time.monotonic() < end, f"{pid} lives on"
        time.sleep(0.02)


async def test_stopping_an_engine_leaves_no_worker_behind(tmp_path: Path) -> None:
    log = tmp_path / "logs" / "engine.log"
    host = EngineProcess([sys.executable, "-c", WITH_WORKER], dict(os.environ), log)
    await host.start()
    while "worker" not in host.last_words():
        await asyncio.sleep(0.02)
    worker = int(host.last_words().split()[1])
    await host.stop(5)
    wait_until_gone(worker)
    assert await host.exited() == -signal.SIGTERM


async def test_a_killed_engine_takes_its_workers_with_it_when_it_is_cleared_away(
    tmp_path: Path,
) -> None:
    host = EngineProcess([sys.executable, "-c", WITH_WORKER], dict(os.environ), tmp_path / "log")
    await host.start()
    while "worker" not in host.last_words():
        await asyncio.sleep(0.02)
    worker = int(host.last_words().split()[1])
    assert host.pid is not None
    os.kill(host.pid, signal.SIGKILL)
    assert await host.exited() == -signal.SIGKILL
    await host.stop(0)
    wait_until_gone(worker)


SERVICE = """
import asyncio, os, sys
from pathlib import Path
from service.engines.process import EngineProcess
async def serve():
    log = Path(sys.argv[1])
    host = EngineProcess([sys.executable, "-c", sys.argv[2]], dict(os.environ), log)
    await host.start()
    while "worker" not in host.last_words():
        await asyncio.sleep(0.02)
    print(host.pid, host.last_words().split()[1], flush=True)
    await asyncio.sleep(60)
asyncio.run(serve())
"""
GUARDED = "from service.engines.launch import end_with_stdin\nend_with_stdin()\n"


@pytest.mark.parametrize("also", ["nothing", "its server is killed too", "its server hangs"])
def test_no_process_of_an_engine_outlives_the_service_however_that_dies(
    tmp_path: Path, also: str
) -> None:
    """The worker stands for vLLM's core, which nobody would end if its server died with us."""
    arguments = [sys.executable, "-c", SERVICE, str(tmp_path / "log"), GUARDED + WITH_WORKER]
    with subprocess.Popen(arguments, cwd=ROOT, stdout=subprocess.PIPE, text=True) as service:
        assert service.stdout is not None
        server, worker = map(int, service.stdout.readline().split())
        if also == "its server hangs":
            os.kill(server, signal.SIGSTOP)
        service.kill()
        if also == "its server is killed too":
            os.kill(server, signal.SIGKILL)
    wait_until_gone(server)
    wait_until_gone(worker)


def test_a_job_is_told_to_end_when_the_service_is_killed() -> None:
    with subprocess.Popen(
        [sys.executable, "-c", PARENT, FOLLOWER], cwd=ROOT, stdout=subprocess.PIPE, text=True
    ) as parent:
        assert parent.stdout is not None
        child = int(parent.stdout.readline())
        assert parent.stdout.readline() == "following\n"
        parent.kill()
    wait_until_gone(child)
