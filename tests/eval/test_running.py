"""Owning processes: they end with the block, and what they leave is found."""

import signal
import sys
import time
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
        wait_for(lambda: "up" in read(tmp_path / "log"))
        assert [p.pid for p in left_behind(store)] == [process.pid]
    assert left_behind(store) == []


def test_sigterm_stops_what_was_started(tmp_path: Path) -> None:
    script = f"""
import time
from pathlib import Path
from eval.running import end_like_ctrl_c, running_process
end_like_ctrl_c()
with running_process({SLEEP!r}, Path({str(tmp_path / "child")!r}), {{}}) as process:
    print(process.pid, flush=True)
    time.sleep(60)
"""
    store, log = tmp_path / "store", tmp_path / "log"
    with running_process([sys.executable, "-c", script], log, {"DSLM_STORE": str(store)}) as owner:
        wait_for(lambda: "up" in read(tmp_path / "child"))
        assert len(left_behind(store)) == 2
        owner.terminate()
        owner.wait()
    assert left_behind(store) == []


def read(file: Path) -> str:
    return file.read_text(encoding="utf-8") if file.exists() else ""


def wait_for(happened: Callable[[], bool]) -> None:
    for _ in range(500):
        if happened():
            return
        time.sleep(0.01)
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
