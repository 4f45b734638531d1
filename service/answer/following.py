"""Notices what other processes change: LIVE and TRAFFIC of every domain, several times a second."""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Collection
from contextlib import suppress
from pathlib import Path

from adapters.traffic import FILE_NAME
from indexer.settings import Paths

log = logging.getLogger("dslm.releases")
LOOK_SECONDS = 0.25
RETRY_SECONDS = 1.0
State = tuple[bytes, bytes]


class Follower:
    """Calls `refresh` with a domain whose files have changed, again until it succeeds.

    `serves` names the release that answers now: LIVE may have come back to what was seen before
    while the service itself made another one answer.

    The files are read, not only looked at: they are tiny, and a time stamp can stay the same over
    a change. One domain's refresh keeps none of the others waiting.
    """

    def __init__(
        self,
        paths: Paths,
        names: Collection[str],
        refresh: Callable[[str], Awaitable[None]],
        serves: Callable[[str], int | None],
    ) -> None:
        self._files = {
            name: (paths.live(name), paths.live(name).with_name(FILE_NAME)) for name in names
        }
        self._refresh = refresh
        self._serves = serves
        self._seen: dict[str, State] = {}
        self._under_way: dict[str, asyncio.Task[None]] = {}
        self._told: dict[str, str] = {}

    async def run(self) -> None:
        """Until cancelled."""
        try:
            while True:
                for name, state in (await asyncio.to_thread(self._look)).items():
                    if name not in self._under_way and self._is_news(name, state):
                        task = asyncio.create_task(self._follow(name, state))
                        self._under_way[name] = task
                await asyncio.sleep(LOOK_SECONDS)
        finally:
            tasks = list(self._under_way.values())
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def _follow(self, name: str, state: State) -> None:
        try:
            await self._refresh(name)
            self._seen[name] = state
            self._told.pop(name, None)
        except Exception as error:  # nobody else would notice that following has ended
            if self._told.get(name) != str(error):
                log.warning("cannot follow the releases of %s: %s", name, error)
            self._told[name] = str(error)
            await asyncio.sleep(RETRY_SECONDS)
        finally:
            del self._under_way[name]

    def _is_news(self, name: str, state: State) -> bool:
        live = state[0].strip()
        return state != self._seen.get(name) or bool(live and live != self._served(name))

    def _served(self, name: str) -> bytes:
        return str(self._serves(name)).encode()

    def _look(self) -> dict[str, State]:
        return {name: (_read(live), _read(rest)) for name, (live, rest) in self._files.items()}


def _read(path: Path) -> bytes:
    """Empty for what cannot be read: the refresh says why."""
    with suppress(OSError):
        return path.read_bytes()
    return b""
