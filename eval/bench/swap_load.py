"""What swaps cost the answers under way: how many fail, and how much longer they take.

Streams, since nothing tries those again; slices with swaps and without them, in turn.
"""

import asyncio
import itertools
import time
from collections.abc import Awaitable, Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from eval.bench.swap import SwapSettings
from eval.client import Client
from eval.progress import phase
from eval.report import Grid
from indexer.errors import DslmError

CLIENTS, SLICES, SWAPS = 8, 4, 5
PAUSE = 0.1
OPTIONS: dict[str, Any] = {
    "temperature": 0,
    "max_tokens": 8,
    "dslm": {"passages": False, "demonstrations": False, "mode": "generate"},
}


@dataclass
class Heard:
    """What came of the answers: milliseconds of each that was whole, and how many were not."""

    millis: list[float] = field(default_factory=list)
    failed: int = 0


async def under_load(service: Client, settings: SwapSettings) -> tuple[Heard, Heard]:
    """Without swaps and with them; puts the domain's adapter back."""
    pinned = (await service.domain(settings.domain))["release"]["adapter"]
    before = f"{pinned['name']}@{pinned['version']}" if pinned else None
    versions = itertools.cycle(settings.versions)
    quiet, swapped = Heard(), Heard()
    try:
        with phase("swapping under load", SLICES) as advance:
            for _ in range(SLICES):
                began = time.perf_counter()
                await _slice(service, settings.domain, swapped, _swaps(service, settings, versions))
                seconds = time.perf_counter() - began
                await _slice(service, settings.domain, quiet, asyncio.sleep(seconds))
                advance()
    finally:
        await service.set_adapter(settings.domain, before)
    return quiet, swapped


def load_grid(quiet: Heard, swapped: Heard) -> Grid:
    """How many, and how long they took."""
    title = f"{CLIENTS} clients that stream short answers, while versions are swapped and while not"
    rows = (_row(f"during {SLICES * SWAPS} swaps", swapped), _row("no swaps", quiet))
    return Grid(title, ("when", "answers", "failed", "median ms", "p99 ms"), rows)


def _row(name: str, heard: Heard) -> tuple[str, ...]:
    found = np.percentile(heard.millis, [50, 99]) if heard.millis else (0.0, 0.0)
    times = (f"{value:.1f}" for value in found)
    return name, str(len(heard.millis)), str(heard.failed), *times


async def _swaps(service: Client, settings: SwapSettings, versions: Iterator[str]) -> None:
    for _ in range(SWAPS):
        await service.set_adapter(settings.domain, next(versions))
        await asyncio.sleep(PAUSE)


async def _slice(service: Client, domain: str, heard: Heard, until: Awaitable[None]) -> None:
    """The clients ask for as long as `until` takes."""
    over = asyncio.Event()

    async def ask(number: int) -> None:
        question = [{"role": "user", "content": f"{number}: How often should I descale it?"}]
        while not over.is_set():
            began = time.perf_counter()
            try:
                await service.streamed(domain, question, OPTIONS)
                heard.millis.append(1000 * (time.perf_counter() - began))
            except DslmError:
                heard.failed += 1

    clients = [asyncio.create_task(ask(number)) for number in range(CLIENTS)]
    try:
        await until
    finally:
        over.set()
        await asyncio.gather(*clients)
