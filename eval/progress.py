"""A progress bar on a terminal; one line for each phase elsewhere."""

import sys
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from typing import TypeVar

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

T = TypeVar("T")
Advance = Callable[[], None]


def say(text: str) -> None:
    """One line for the person in front; progress never mixes with results, which go to stdout."""
    sys.stderr.write(f"{text}\n")
    sys.stderr.flush()


@contextmanager
def phase(name: str, total: int) -> Iterator[Advance]:
    """Report `total` steps of work called `name`; call what it yields after each step."""
    console = Console(stderr=True)
    if not console.is_terminal:
        began = time.perf_counter()
        yield lambda: None
        say(f"{name}: {total} in {time.perf_counter() - began:.1f} s")
        return
    columns = TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn()
    with Progress(*columns, TimeRemainingColumn(), console=console) as progress:
        task = progress.add_task(name, total=total)
        yield lambda: progress.advance(task)


async def watched(work: Awaitable[T], advance: Advance) -> T:
    """Await `work`, then count it."""
    result = await work
    advance()
    return result
