"""Many requests through one service: whether its memory stays as it is; and how fast it is ready.

Streams, whole answers, completions, refused ones and clients that leave, before a scripted engine.
"""

import asyncio
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
import psutil

from eval.bench.targets import DOMAIN_NAME, Say, answering, service_settings
from eval.progress import phase
from eval.report import Grid
from eval.running import free_port, running_process, running_service
from eval.stats import Spread
from indexer.errors import DslmError

MIB = 2**20


@dataclass(frozen=True, slots=True)
class SoakSettings:
    """`requests`, so many `at_once`; memory is looked at ten times. `starts` of the service."""

    requests: int = 100_000
    at_once: int = 16
    starts: int = 3


@dataclass(frozen=True, slots=True)
class Soaked:
    """Resident MiB at each tenth, connections and open files at its end; seconds of each start."""

    memory: tuple[float, ...]
    files: tuple[int, ...]
    seconds: float
    starts: tuple[float, ...]
    requests: int


class SoakFailed(DslmError):
    """An answer was not what it should be: the figures would mean nothing."""


async def measure(settings: SoakSettings, folder: Path, say: Say) -> Soaked:
    """Start and stop the service a few times, then ask."""
    port = free_port()
    upstream = [sys.executable, "-m", "eval.bench.upstream", str(port), "0"]
    variables = service_settings(folder, f"http://127.0.0.1:{port}")
    with running_process(upstream, folder / "upstream.log", {}):
        with running_service(folder, variables) as own:  # the first start indexes
            await answering(f"{own.url}/ready", own.process, own.log)
        starts = [await _start(folder, variables) for _ in range(settings.starts)]
        with running_service(folder, variables) as own:
            await answering(f"{own.url}/ready", own.process, own.log)
            memory, files, began = [], [], time.monotonic()
            with phase("soaking", 10) as advance:
                for _ in range(10):
                    await _ask(own.url, settings.requests // 10, settings.at_once)
                    process = psutil.Process(own.process.pid)
                    memory.append(process.memory_info().rss / MIB)
                    files.append(process.num_fds())
                    advance()
            seconds = time.monotonic() - began
    return Soaked(tuple(memory), tuple(files), seconds, tuple(starts), settings.requests)


def grids(soaked: Soaked) -> list[Grid]:
    """The memory at each tenth; the starts."""
    memory = tuple(
        (f"{10 * number} %", f"{mib:.0f}", str(files))
        for number, (mib, files) in enumerate(
            zip(soaked.memory, soaked.files, strict=True), start=1
        )
    )
    rate = soaked.requests / soaked.seconds
    growth = soaked.memory[-1] - soaked.memory[0]
    title = (
        f"Memory over {soaked.requests:,} requests ({rate:.0f} a second):"
        f" {growth:+.0f} MiB from 10 % to 100 %"
    )
    start = (("start to ready, engine up", Spread.of(soaked.starts).show(), "3 s or less"),)
    return [
        Grid(title, ("after", "resident MiB", "open files"), memory),
        Grid("Start", ("what", "seconds (median, least to greatest)", "aim"), start),
    ]


async def _start(folder: Path, variables: dict[str, str]) -> float:
    """Seconds from the call of the command to ready."""
    began = time.perf_counter()
    with running_service(folder, variables) as own:
        await answering(f"{own.url}/ready", own.process, own.log, every=0.02)
        return time.perf_counter() - began


async def _ask(url: str, count: int, at_once: int) -> None:
    left = iter(range(count))
    timeout = aiohttp.ClientTimeout(total=120)
    async with aiohttp.ClientSession(timeout=timeout) as session:

        async def worker() -> None:
            for number in left:
                await _one(session, url, number)

        await asyncio.gather(*(worker() for _ in range(at_once)))


async def _one(session: aiohttp.ClientSession, url: str, number: int) -> None:
    """By turns one of six kinds; questions come again after a thousand."""
    kind = number % 6
    question = f"How often is part {number % 1000} descaled?"
    body: dict[str, Any] = {
        "model": DOMAIN_NAME if kind in (0, 1) else "base",
        "messages": [{"role": "user", "content": question}],
        "max_tokens": 8,
        "stream": kind in (0, 2, 5),
    }
    if kind == 4:
        body["model"] = f"unknown-{number}"
    async with session.post(f"{url}/v1/chat/completions", json=body) as reply:
        if kind == 5:
            return  # it leaves before the answer has come
        content = await reply.read()
        wanted = 404 if kind == 4 else 200
        if reply.status != wanted:
            raise SoakFailed(f"{reply.status} instead of {wanted}: {content[-300:]!r}")
