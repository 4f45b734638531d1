"""CPU time per relayed SSE chunk: the service against relays that only copy bytes.

All stand as processes of their own before one scripted upstream, and take turns within a round,
so that what else the machine does meets all of them. The number to read is the ratio.
"""

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import aiohttp

from eval.bench.targets import (
    AIOHTTP,
    DOMAIN,
    HTTPX,
    LITELLM,
    SERVICE,
    Target,
    cpu_seconds,
    started,
)
from eval.progress import Advance, phase
from eval.report import Grid
from eval.stats import Spread, paired_ratio
from indexer.errors import DslmError

QUESTION = "How long does a full descaling cycle take? "


@dataclass(frozen=True, slots=True)
class RelaySettings:
    """`streams` at once, `chunks` each, `gap` milliseconds apart, `rounds` times."""

    chunks: int = 2000
    streams: int = 4
    rounds: int = 5
    gap: float = 2.0
    prompts: tuple[int, ...] = (1_000, 225_000)
    litellm: bool = True


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
    """Start all of them, let them take turns, stop them."""
    names = [HTTPX, AIOHTTP, SERVICE, DOMAIN, *([LITELLM] if settings.litellm else [])]
    async with started(names, folder, settings.gap, say) as targets:
        return [
            series for size in settings.prompts for series in await _rounds(targets, size, settings)
        ]


def grids(series: Sequence[Series], chunks: int) -> list[Grid]:
    """For each prompt size: microseconds, and ratios to both bare relays."""
    return [_grid(size, chunks, series) for size in sorted({s.size for s in series})]


def _grid(size: int, chunks: int, series: Sequence[Series]) -> Grid:
    own = {s.target: s.micros for s in series if s.size == size}
    peers = [name for name in (HTTPX, AIOHTTP, LITELLM) if name in own]
    rows = tuple(
        (
            name,
            Spread.of(micros).show(1),
            *(paired_ratio(micros, own[peer]).show() for peer in peers),
        )
        for name, micros in own.items()
    )
    # What a request costs but once, such as retrieval, is spread over its chunks.
    title = f"CPU per relayed chunk, prompt of {size / 1000:.0f} KB, streams of {chunks} chunks"
    head = ("relay", "microseconds (median, least to greatest)")
    return Grid(title, (*head, *(f"ratio to {peer}" for peer in peers)), rows)


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
            content = await response.read()
            if target.copies:
                check_stream(target.name, response.status, content, chunks)
            else:
                check_words(target.name, response.status, content, chunks)
    except aiohttp.ClientError as error:
        raise ChunksLost(f"{target.name} broke off: {error}") from error


def check_stream(name: str, status: int, content: bytes, chunks: int) -> None:
    """ChunksLost unless everything arrived: `chunks`, the role, the reason and `[DONE]`."""
    found, wanted = content.count(b"data: "), chunks + 3
    if status != 200 or found != wanted or not content.endswith(b"data: [DONE]\n\n"):
        end = content[-300:].decode(errors="replace")
        raise ChunksLost(f"{name} answered {status} with {found} of {wanted} events: ...{end}")


def check_words(name: str, status: int, content: bytes, chunks: int) -> None:
    """ChunksLost unless every chunk's word arrived, whatever stands around it."""
    if status != 200 or content.count(b"word") != chunks:
        end = content[-300:].decode(errors="replace")
        raise ChunksLost(f"{name} answered {status} without all of {chunks} words: ...{end}")
