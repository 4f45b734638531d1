"""Notices what other processes change: LIVE and TRAFFIC of every domain, several times a second."""

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Collection
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from adapters.traffic import FILE_NAME
from indexer.settings import Paths

log = logging.getLogger("dslm.releases")
LOOK_SECONDS = 0.25
RETRY_SECONDS = 1.0
LONGEST_RETRY = 30.0
State = tuple[bytes, bytes]
Now = tuple[State, object]  # what the files say, and what this process has open


@dataclass(frozen=True, slots=True)
class Failure:
    """What could not be followed, why, and when to try again: at once if it has changed."""

    now: Now
    reason: str
    wait: float
    at: float


class Follower:
    """Calls `refresh` with a domain whose files have changed, again until it succeeds.

    `serves` tells what this process has open for a domain: the files may have come back to what was
    seen before while the service itself made another release answer.

    The files are read, not only looked at: they are tiny, and a time stamp can stay the same over
    a change. One domain's refresh keeps none of the others waiting.
    """

    def __init__(
        self,
        paths: Paths,
        names: Collection[str],
        refresh: Callable[[str], Awaitable[None]],
        serves: Callable[[str], object],
    ) -> None:
        self._files = {
            name: (paths.live(name), paths.live(name).with_name(FILE_NAME)) for name in names
        }
        self._refresh = refresh
        self._serves = serves
        self._seen: dict[str, Now] = {}
        self._under_way: dict[str, asyncio.Task[None]] = {}
        self._failed: dict[str, Failure] = {}

    async def run(self) -> None:
        """Until cancelled."""
        try:
            while True:
                for name, state in (await asyncio.to_thread(self._look)).items():
                    if self._is_due(name, state):
                        task = asyncio.create_task(self._follow(name, state))
                        self._under_way[name] = task
                await asyncio.sleep(LOOK_SECONDS)
        finally:
            tasks = list(self._under_way.values())
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    def _is_due(self, name: str, state: State) -> bool:
        now = (state, self._serves(name))
        if name in self._under_way:
            return False
        failed = self._failed.get(name)
        if failed and failed.now != now:  # else what is said again later would wait for the retry
            failed = self._failed.pop(name) and None
        return now != self._seen.get(name) and (failed is None or time.monotonic() >= failed.at)

    async def _follow(self, name: str, state: State) -> None:
        try:
            await self._refresh(name)
            self._seen[name] = state, self._serves(name)
            self._failed.pop(name, None)
        except Exception as error:  # nobody else would notice that following has ended
            self._fail(name, (state, self._serves(name)), str(error) or repr(error))
        finally:
            del self._under_way[name]

    def _fail(self, name: str, now: Now, reason: str) -> None:
        """Told once. What fails again is tried ever more seldom: opening may cost much."""
        before = self._failed.get(name)
        if before is None or before.reason != reason:
            log.warning("cannot follow the releases of %s: %s", name, reason)
        again = before is not None and before.now == now
        wait = min(LONGEST_RETRY, 2 * before.wait) if before and again else RETRY_SECONDS
        self._failed[name] = Failure(now, reason, wait, time.monotonic() + wait)

    def _look(self) -> dict[str, State]:
        return {name: (_read(live), _read(rest)) for name, (live, rest) in self._files.items()}


def _read(path: Path) -> bytes:
    """Empty for what cannot be read: the refresh says why."""
    with suppress(OSError):
        return path.read_bytes()
    return b""
