"""Doing again what has changed: an object store followed, or this store's LIVE pushed."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from indexer.errors import DslmError

LONGEST_WAIT = 30.0


@dataclass
class Watched:
    """One domain: what was done for it and said of it last, and when to try again."""

    domain: str
    done: object = None
    said: str = ""
    wait: float = 0.0
    due: float = 0.0


Move = Callable[[str], object]
Say = Callable[[str], None]


def keep_moving(
    domains: Sequence[str],
    move: Move,
    say: Say,
    every: float,
    clock: Callable[[], float] = time.monotonic,
    sleep: Callable[[float], None] = time.sleep,
) -> None:
    """Until somebody interrupts. `move` is idempotent: it says what there is now.

    What fails is said once, and tried ever more seldom; the other domains go on.
    """
    watched = [Watched(domain) for domain in domains]
    while True:
        for one in watched:
            if clock() >= one.due:
                _move(one, move, say, every, clock)
        sleep(every)


def _move(one: Watched, move: Move, say: Say, every: float, clock: Callable[[], float]) -> None:
    try:
        now = move(one.domain)
    except DslmError as error:
        if str(error) != one.said:
            say(f"{one.domain}: {error}")
        one.said = str(error)
        one.wait = min(LONGEST_WAIT, max(every, 2 * one.wait))
        one.due = clock() + one.wait
        return
    if now != one.done or one.said:
        say(f"{one.domain}: release {now}")
    one.done, one.said, one.wait, one.due = now, "", 0.0, 0.0
