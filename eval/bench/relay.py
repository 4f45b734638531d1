"""CPU time per relayed SSE chunk: the service against relays that only copy bytes.

All stand as processes of their own before one scripted upstream, and take turns within a round,
so that what else the machine does meets all of them. The number to read is the ratio.
"""

import asyncio
import shutil
import sys
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import ExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp

from eval.client import Client
from eval.progress import Advance, phase
from eval.report import Grid
from eval.running import ROOT, free_port, running_process, running_service, wait_ready
from eval.stats import Spread, paired_ratio
from indexer.errors import DslmError

HTTPX, AIOHTTP = "bare httpx", "bare aiohttp"
SERVICE, DOMAIN = "service, base", "service, domain with retrieval"
DOMAIN_NAME = "support"
QUESTION = "How long does a full descaling cycle take? "
# The upstream answers at any length, so the demonstration base's own context must not stop us.
CONTEXT = "1000000"


@dataclass(frozen=True, slots=True)
class RelaySettings:
    """`streams` at once, `chunks` each, `gap` milliseconds apart, `rounds` times."""

    chunks: int = 2000
    streams: int = 4
    rounds: int = 5
    gap: float = 2.0
    prompts: tuple[int, ...] = (1_000, 225_000)


@dataclass(frozen=True, slots=True)
class Target:
    """A relay under test: where it listens, what it is asked for, whose CPU time counts."""

    name: str
    url: str
    pid: int
    model_name: str


@dataclass(frozen=True, slots=True)
class Series:
    """Microseconds of CPU per chunk, round by round, for a prompt of `size` bytes."""

    target: str
    size: int
    micros: tuple[float, ...]


class ChunksLost(DslmError):
    """A relay did not pass on what the upstream sent: its time would mean nothing."""


async def measure(
    settings: RelaySettings, folder: Path, say: Callable[[str], None]
) -> list[Series]:
    """Start all four, let them take turns, stop them."""
    async with _targets(settings, folder, say) as targets:
        return [
            series for size in settings.prompts for series in await _rounds(targets, size, settings)
        ]


def cpu_seconds(pid: int) -> float:
    """CPU time of a process and all its threads, to the nanosecond.

    Linux encodes the clock of process `pid` as `~pid << 3 | 2`; /proc counts in 10 ms only.
    """
    return time.clock_gettime((~pid << 3) | 2)


def grids(series: Sequence[Series], chunks: int) -> list[Grid]:
    """For each prompt size: microseconds, and ratios to both bare relays."""
    return [_grid(size, chunks, series) for size in sorted({s.size for s in series})]


def _grid(size: int, chunks: int, series: Sequence[Series]) -> Grid:
    own = {s.target: s.micros for s in series if s.size == size}
    rows = tuple(
        (
            name,
            Spread.of(micros).show(1),
            paired_ratio(micros, own[HTTPX]).show(),
            paired_ratio(micros, own[AIOHTTP]).show(),
        )
        for name, micros in own.items()
    )
    # What a request costs but once, such as retrieval, is spread over its chunks.
    title = f"CPU per relayed chunk, prompt of {size / 1000:.0f} KB, streams of {chunks} chunks"
    return Grid(
        title,
        (
            "relay",
            "microseconds (median, least to greatest)",
            f"ratio to {HTTPX}",
            f"ratio to {AIOHTTP}",
        ),
        rows,
    )


@asynccontextmanager
async def _targets(
    settings: RelaySettings, folder: Path, say: Callable[[str], None]
) -> AsyncIterator[list[Target]]:
    upstream = free_port()
    address = f"http://127.0.0.1:{upstream}"
    with ExitStack() as stack:
        script = ["eval.bench.upstream", str(upstream), str(settings.gap)]
        stack.enter_context(_module(script, folder / "upstream.log"))
        targets = []
        for name, kind in ((HTTPX, "httpx"), (AIOHTTP, "aiohttp")):
            port, log = free_port(), folder / f"{kind}.log"
            process = stack.enter_context(
                _module(["eval.bench.bare", kind, str(port), address], log)
            )
            url = f"http://127.0.0.1:{port}"
            await _await_ready(url, process, log)
            targets.append(Target(name, url, process.pid, "base"))
        say(f"starting the service (log: {folder / 'service.log'})")
        own = stack.enter_context(running_service(folder, _settings(folder, address)))
        await _await_ready(own.url, own.process, own.log)
        for name, model in ((SERVICE, "base"), (DOMAIN, DOMAIN_NAME)):
            targets.append(Target(name, own.url, own.process.pid, model))
        yield targets


def _settings(folder: Path, engine: str) -> dict[str, str]:
    """The real service over the scripted engine, with one domain to index."""
    domains = folder / "domains"
    source = ROOT / "deploy" / "demo" / "domains" / DOMAIN_NAME
    shutil.copytree(source, domains / DOMAIN_NAME)
    return {
        "DSLM_ENGINE_URLS": engine,
        "DSLM_DOMAINS": str(domains),
        "DSLM_MAX_MODEL_LEN": CONTEXT,
    }


def _module(arguments: list[str], log: Path) -> Any:
    return running_process([sys.executable, "-m", *arguments], log, {})


async def _await_ready(url: str, process: Any, log: Path) -> None:
    async with Client(url) as client:
        await wait_ready(client, process, log)


async def _rounds(targets: Sequence[Target], size: int, settings: RelaySettings) -> list[Series]:
    """A B C A B C ...; the first turn only warms up."""
    # A question of 225 KB is no question to retrieve for.
    chosen = [t for t in targets if t.name != DOMAIN or size <= min(settings.prompts)]
    turns = len(chosen) * (settings.rounds + 1)
    micros: dict[str, list[float]] = {target.name: [] for target in chosen}
    timeout = aiohttp.ClientTimeout(total=None)
    async with aiohttp.ClientSession(timeout=timeout) as session:
        with phase(f"relaying, prompt of {size / 1000:.0f} KB", turns) as advance:
            for target in chosen:
                await _turn(session, target, size, settings, advance)
            for _ in range(settings.rounds):
                for target in chosen:
                    took = await _turn(session, target, size, settings, advance)
                    micros[target.name].append(took)
    return [Series(name, size, tuple(values)) for name, values in micros.items()]


async def _turn(
    session: aiohttp.ClientSession,
    target: Target,
    size: int,
    settings: RelaySettings,
    advance: Advance,
) -> float:
    """Microseconds of the relay's CPU per chunk over `streams` streams at once."""
    before = cpu_seconds(target.pid)
    streams = [_stream(session, target, size, settings.chunks) for _ in range(settings.streams)]
    await asyncio.gather(*streams)
    advance()
    chunks = settings.chunks * settings.streams
    return 1e6 * (cpu_seconds(target.pid) - before) / chunks


async def _stream(session: aiohttp.ClientSession, target: Target, size: int, chunks: int) -> None:
    prompt = (QUESTION * (1 + size // len(QUESTION)))[:size]
    body = {
        "model": target.model_name,
        "messages": [{"role": "user", "content": prompt}],
        "max_tokens": chunks,
        "stream": True,
    }
    try:
        async with session.post(f"{target.url}/v1/chat/completions", json=body) as response:
            check_stream(target.name, response.status, await response.read(), chunks)
    except aiohttp.ClientError as error:
        raise ChunksLost(f"{target.name} broke off: {error}") from error


def check_stream(name: str, status: int, content: bytes, chunks: int) -> None:
    """ChunksLost unless everything arrived: `chunks`, the role, the reason and `[DONE]`."""
    found, wanted = content.count(b"data: "), chunks + 3
    if status != 200 or found != wanted or not content.endswith(b"data: [DONE]\n\n"):
        end = content[-300:].decode(errors="replace")
        raise ChunksLost(f"{name} answered {status} with {found} of {wanted} events: ...{end}")
