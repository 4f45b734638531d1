"""Requests per core for whole answers, beside the least that a FastAPI application can do.

All stand before one scripted upstream and take turns. Then, through the service and through a bare
relay: the largest gap of a running stream while long prompts come in.
"""

import asyncio
import time
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import aiohttp

from eval.bench.relay import QUESTION, ChunksLost
from eval.bench.targets import (
    AIOHTTP,
    DOMAIN,
    FASTAPI,
    SERVICE,
    Say,
    Target,
    cpu_seconds,
    started,
)
from eval.progress import phase
from eval.report import Grid
from eval.stats import Spread, paired_ratio

ALONE = {"passages": False, "demonstrations": False, "adapter": False, "mode": "generate"}
WITHOUT = "service, domain, retrieval off"
ANSWER_TOKENS = 32


@dataclass(frozen=True, slots=True)
class JsonSettings:
    """`requests` a turn, `at_once` of them; `rounds` turns; prompts of so many bytes.

    `chunks`: of the stream that is watched, `gap` milliseconds apart.
    """

    requests: int = 400
    at_once: int = 8
    rounds: int = 5
    prompts: tuple[int, ...] = (1_000, 225_000)
    chunks: int = 1000
    gap: float = 2.0


@dataclass(frozen=True, slots=True)
class Load:
    """Microseconds for one request, round by round: of the target's CPU, and by the clock."""

    target: str
    size: int
    processor: tuple[float, ...]
    wall: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class Gaps:
    """Milliseconds between the parts of a stream: the largest, and the 99th of a hundred."""

    target: str
    disturbed: bool
    largest: float
    p99: float


async def measure(settings: JsonSettings, folder: Path, say: Say) -> tuple[list[Load], list[Gaps]]:
    """Start them, let them take turns, stop them."""
    names = [FASTAPI, AIOHTTP, SERVICE, DOMAIN]
    timeout = aiohttp.ClientTimeout(total=None)
    async with started(names, folder, settings.gap, say) as targets:
        async with aiohttp.ClientSession(timeout=timeout) as session:
            loads = [
                load
                for size in settings.prompts
                for load in await _loads(session, targets, size, settings)
            ]
            say(f"streams beside prompts of {max(settings.prompts) / 1000:.0f} KB")
            watched = [t for t in targets if t.name in (AIOHTTP, SERVICE, DOMAIN)]
            gaps = [
                await _gaps(session, target, settings, disturbed)
                for target in watched
                for disturbed in (False, True)
            ]
    return loads, gaps


def grids(loads: Sequence[Load], gaps: Sequence[Gaps]) -> list[Grid]:
    """For each prompt size the requests per core; then the gaps."""
    sizes = sorted({load.size for load in loads})
    rows = tuple(
        (g.target, "yes" if g.disturbed else "no", f"{g.largest:.1f}", f"{g.p99:.1f}") for g in gaps
    )
    head = ("relay", "long prompts beside", "largest gap, ms", "p99, ms")
    watched = Grid("Gaps of a running stream", head, rows)
    return [*(_grid(size, loads) for size in sizes), watched]


def _grid(size: int, loads: Sequence[Load]) -> Grid:
    own = {load.target: load for load in loads if load.size == size}
    rows = tuple(
        (
            name,
            f"{1e6 / Spread.of(load.processor).middle:,.0f}",
            Spread.of(load.processor).show(0),
            paired_ratio(own[FASTAPI].processor, load.processor).show(),
            Spread.of(load.wall).show(0),
        )
        for name, load in own.items()
    )
    head = (
        "relay",
        "requests per second and core",
        "microseconds of CPU",
        f"requests per core, ratio to {FASTAPI}",
        "microseconds by the clock",
    )
    return Grid(f"Whole answers, prompt of {size / 1000:.0f} KB", head, rows)


async def _loads(
    session: aiohttp.ClientSession, targets: Sequence[Target], size: int, settings: JsonSettings
) -> list[Load]:
    """A B C A B C ...; the first turn only warms up."""
    taken: dict[str, list[tuple[float, float]]] = {target.name: [] for target in targets}
    with phase(f"whole answers, {size / 1000:.0f} KB", settings.rounds + 1) as advance:
        for _ in range(settings.rounds + 1):
            for target in targets:
                taken[target.name].append(await _turn(session, target, size, settings))
            advance()
    return [
        Load(
            WITHOUT if name == DOMAIN else name,
            size,
            tuple(cpu for cpu, _ in turns[1:]),
            tuple(wall for _, wall in turns[1:]),
        )
        for name, turns in taken.items()
    ]


async def _turn(
    session: aiohttp.ClientSession, target: Target, size: int, settings: JsonSettings
) -> tuple[float, float]:
    """Microseconds of CPU and of the clock for one of many requests."""
    body = body_of(target, size)
    left = iter(range(settings.requests))
    before, began = cpu_seconds(target.pid), time.perf_counter()

    async def worker() -> None:
        for _ in left:
            await _ask(session, target, body)

    await asyncio.gather(*(worker() for _ in range(settings.at_once)))
    wall, processor = time.perf_counter() - began, cpu_seconds(target.pid) - before
    return 1e6 * processor / settings.requests, 1e6 * wall / settings.requests


async def _ask(session: aiohttp.ClientSession, target: Target, body: dict[str, Any]) -> None:
    async with session.post(f"{target.url}/v1/chat/completions", json=body) as reply:
        content = await reply.read()
        if reply.status != 200 or content.count(b"word") != ANSWER_TOKENS:
            raise ChunksLost(f"{target.name} answered {reply.status}: {content[-300:]!r}")


def body_of(target: Target, size: int) -> dict[str, Any]:
    """A question of `size` bytes without retrieval."""
    prompt = (QUESTION * (1 + size // len(QUESTION)))[:size]
    body = {
        "model": target.model_name,
        "messages": [{"role": "user", "content": prompt}],
        "max_tokens": ANSWER_TOKENS,
    }
    return {**body, "dslm": ALONE} if target.name == DOMAIN else body


async def _gaps(
    session: aiohttp.ClientSession, target: Target, settings: JsonSettings, disturbed: bool
) -> Gaps:
    """Of one stream, alone or while long prompts come in without a pause."""
    long = body_of(target, max(settings.prompts))

    async def disturb() -> None:
        while True:
            await _ask(session, target, long)

    others = [asyncio.create_task(disturb()) for _ in range(4 if disturbed else 0)]
    try:
        seconds = await _stream(session, target, settings.chunks)
    finally:
        for other in others:
            other.cancel()
        await asyncio.gather(*others, return_exceptions=True)
    ordered = sorted(1000 * s for s in seconds)
    name = WITHOUT if target.name == DOMAIN else target.name
    return Gaps(name, disturbed, ordered[-1], ordered[int(len(ordered) * 0.99)])


async def _stream(session: aiohttp.ClientSession, target: Target, chunks: int) -> list[float]:
    """Seconds between the parts of one stream."""
    body = {**body_of(target, 1000), "stream": True, "max_tokens": chunks}
    times = []
    async with session.post(f"{target.url}/v1/chat/completions", json=body) as reply:
        async for _ in reply.content.iter_any():
            times.append(time.perf_counter())
        if reply.status != 200 or len(times) < 2:
            raise ChunksLost(f"{target.name} answered {reply.status} in {len(times)} parts")
    return [later - earlier for earlier, later in pairwise(times)]
