"""What other processes change is noticed soon, whatever else fails or takes long."""

import asyncio
import time
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import pytest

from indexer.settings import Paths
from service.answer import following
from service.answer.following import Follower

NAMES = ("garden", "pantry")


class Refreshed:
    """Counts refreshes; `fails` and `slow` name domains."""

    def __init__(self) -> None:
        self.serves: dict[str, int] = {}
        self.count: Counter[str] = Counter()
        self.fails: set[str] = set()
        self.slow: set[str] = set()

    async def __call__(self, name: str) -> None:
        self.count[name] += 1
        if name in self.slow:
            await asyncio.sleep(60)
        if name in self.fails:
            raise ValueError("broken")


def change(paths: Paths, name: str, text: str, file: str = "LIVE") -> None:
    path = paths.live(name).with_name(file)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, "utf-8")


async def until(condition: object, seconds: float = 5) -> None:
    end = time.monotonic() + seconds
    while not condition():  # type: ignore[operator]
        assert time.monotonic() < end, "not in time"
        await asyncio.sleep(0.01)


@pytest.fixture
def paths(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Paths:
    monkeypatch.setattr(following, "LOOK_SECONDS", 0.02)
    monkeypatch.setattr(following, "RETRY_SECONDS", 0.2)
    found = Paths(tmp_path)
    for name in NAMES:
        change(found, name, "1")
    return found


@asynccontextmanager
async def followed(paths: Paths, refreshed: Refreshed) -> AsyncIterator[None]:
    task = asyncio.create_task(Follower(paths, NAMES, refreshed, refreshed.serves.get).run())
    try:
        yield
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task


async def test_each_change_is_followed_once(paths: Paths) -> None:
    refreshed = Refreshed()
    async with followed(paths, refreshed):
        await until(lambda: refreshed.count == {"garden": 1, "pantry": 1})
        await asyncio.sleep(0.2)
        change(paths, "garden", "2")
        await until(lambda: refreshed.count["garden"] == 2)
        change(paths, "garden", "{}", "TRAFFIC")
        await until(lambda: refreshed.count["garden"] == 3)
        await asyncio.sleep(0.2)
    assert refreshed.count == {"garden": 3, "pantry": 1}


async def test_files_that_came_back_to_what_they_were_are_followed_if_the_service_moved_on(
    paths: Paths,
) -> None:
    refreshed = Refreshed()
    async with followed(paths, refreshed):
        await until(lambda: refreshed.count["garden"] == 1)
        refreshed.serves["garden"] = 2  # by a call, which wrote 2; another process wrote 1 at once
        await until(lambda: refreshed.count["garden"] == 2)


async def test_a_domain_that_takes_long_keeps_no_other_waiting(paths: Paths) -> None:
    refreshed = Refreshed()
    refreshed.slow.add("garden")
    async with followed(paths, refreshed):
        await until(lambda: refreshed.count == {"garden": 1, "pantry": 1})
        change(paths, "pantry", "2")
        await until(lambda: refreshed.count["pantry"] == 2)
    assert refreshed.count["garden"] == 1


async def test_what_fails_is_tried_ever_more_seldom_and_at_once_after_a_change(
    paths: Paths,
) -> None:
    refreshed = Refreshed()
    refreshed.fails.add("garden")
    async with followed(paths, refreshed):
        await asyncio.sleep(1.2)  # tries at 0, 0.2, 0.6 and not before 1.4
        assert refreshed.count["garden"] in (2, 3)
        tried = refreshed.count["garden"]
        refreshed.fails.clear()
        change(paths, "garden", "2")
        await until(lambda: refreshed.count["garden"] == tried + 1, 1)
        await asyncio.sleep(0.3)
    assert refreshed.count["garden"] == tried + 1


async def test_what_failed_before_something_else_was_said_is_tried_at_once_when_said_again(
    paths: Paths, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(following, "RETRY_SECONDS", 60.0)
    refreshed = Refreshed()
    async with followed(paths, refreshed):
        await until(lambda: refreshed.count["garden"] == 1)
        refreshed.fails.add("garden")
        change(paths, "garden", "2")
        await until(lambda: refreshed.count["garden"] == 2)
        refreshed.fails.clear()
        change(paths, "garden", "1")
        await asyncio.sleep(0.2)
        change(paths, "garden", "2")
        await until(lambda: refreshed.count["garden"] == 3)
