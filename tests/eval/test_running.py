"""Owning processes: they end with the block, and what they leave is found."""

import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from eval.client import Client
from eval.running import DidNotStart, free_port, left_behind, running_process, wait_ready

SLEEP = [sys.executable, "-c", "import time; print('up', flush=True); time.sleep(60)"]


def test_a_process_ends_with_its_block(tmp_path: Path) -> None:
    with running_process(SLEEP, tmp_path / "log", {}) as process:
        assert process.poll() is None
    assert process.returncode == -signal.SIGINT or process.returncode == 1


def test_a_process_that_carries_the_mark_is_found_while_it_lives(tmp_path: Path) -> None:
    store = tmp_path / "store"
    with running_process(SLEEP, tmp_path / "log", {"DSLM_STORE": str(store)}) as process:
        # The mark is in the environment only once the child's own program runs.
        wait_for(lambda: "up" in (tmp_path / "log").read_text(encoding="utf-8"))
        assert [p.pid for p in left_behind(store)] == [process.pid]
    assert left_behind(store) == []


def wait_for(happened: Callable[[], bool]) -> None:
    for _ in range(500):
        if happened():
            return
        os.sched_yield()
        signal.sigtimedwait([], 0.01)
    raise AssertionError("it did not happen within five seconds")


async def test_a_service_that_ends_at_once_is_reported_with_its_last_words(tmp_path: Path) -> None:
    command = [sys.executable, "-c", "print('error: the port is in use')"]
    log = tmp_path / "log"
    with running_process(command, log, {}) as process:
        process.wait()
        async with Client(f"http://127.0.0.1:{free_port()}") as client:
            with pytest.raises(DidNotStart, match="the port is in use"):
                await wait_ready(client, process, log)


async def test_lines_of_the_log_are_reported_while_waiting(tmp_path: Path) -> None:
    heard: list[str] = []
    log = tmp_path / "log"
    with running_process([sys.executable, "-c", "print('one\\ntwo')"], log, {}) as process:
        process.wait()
        async with Client(f"http://127.0.0.1:{free_port()}") as client:
            with pytest.raises(DidNotStart):
                await wait_ready(client, process, log, report=heard.append)
    assert heard == ["one", "two"]
