"""vLLM with none to many adapters at once, and the service before it, under the same load.

All stand before one engine and take turns within a round. Prompts are tokens drawn at random, so
that nothing comes out of the prefix cache; answers have a fixed length.
"""

import asyncio
import random
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp
import numpy as np

from eval.progress import phase
from eval.report import Grid
from eval.stats import Spread, paired_ratio
from indexer.errors import DslmError

BASE = "base"
_FIRST_TOKEN = 10  # those before it are special in most vocabularies


@dataclass(frozen=True, slots=True)
class AdaptersSettings:
    """`prompt` and `answer` in tokens; `counts`: of adapters that take turns, 0 for the base."""

    counts: tuple[int, ...] = (0, 1, 2, 4)
    clients: int = 8
    requests: int = 32
    prompt: int = 128
    answer: int = 32
    rounds: int = 3
    vocabulary: int = 1000


@dataclass(frozen=True, slots=True)
class Target:
    """Who is asked, and under which names in turn."""

    name: str
    url: str
    models: tuple[str, ...]


@dataclass(slots=True)
class Load:
    """One turn of a target: seconds of all of it, until first tokens, and between tokens."""

    tokens: int = 0
    seconds: float = 0.0
    first: list[float] = field(default_factory=list)
    gaps: list[float] = field(default_factory=list)

    @property
    def rate(self) -> float:
        """Tokens a second."""
        return self.tokens / self.seconds


class AnswerLost(DslmError):
    """An answer was refused or cut short: the time of the others would mean nothing."""


async def load_adapters(url: str, folder: Path, count: int) -> tuple[str, ...]:
    """Register one folder under many names: to the engine each is an adapter of its own."""
    names = tuple(f"bench-{number}" for number in range(count))
    async with aiohttp.ClientSession() as session:
        for name in names:
            body = {"lora_name": name, "lora_path": str(folder)}
            async with session.post(f"{url}/v1/load_lora_adapter", json=body) as reply:
                if reply.status != 200:
                    raise AnswerLost(f"vLLM refused the adapter: {await reply.text()}")
    return names


def targets(service: str, engine: str, names: Sequence[str], counts: Sequence[int]) -> list[Target]:
    """The engine with each number of adapters, then the service before it."""
    direct = [Target(_title(count), engine, tuple(names[:count]) or (BASE,)) for count in counts]
    return [*direct, Target("the service, no adapters", service, (BASE,))]


def _title(count: int) -> str:
    return f"vLLM, {count or 'no'} adapter{'' if count == 1 else 's'}"


async def measure(chosen: Sequence[Target], settings: AdaptersSettings) -> dict[str, list[Load]]:
    """A B C A B C ...; the first turn of each only warms up."""
    loads: dict[str, list[Load]] = {target.name: [] for target in chosen}
    draw = random.Random(0)
    connector = aiohttp.TCPConnector(limit=0)
    timeout = aiohttp.ClientTimeout(total=None)
    async with aiohttp.ClientSession(connector=connector, timeout=timeout) as session:
        with phase("asking", len(chosen) * (settings.rounds + 1)) as advance:
            for _ in range(settings.rounds + 1):
                for target in chosen:
                    loads[target.name].append(await _turn(session, target, settings, draw))
                    advance()
    return {name: taken[1:] for name, taken in loads.items()}


async def _turn(
    session: aiohttp.ClientSession, target: Target, settings: AdaptersSettings, draw: random.Random
) -> Load:
    load, places = Load(), asyncio.Semaphore(settings.clients)

    async def ask(body: dict[str, Any]) -> None:
        async with places:
            await _ask(session, target.url, body, load)

    began = time.perf_counter()
    try:
        async with asyncio.TaskGroup() as group:
            for body in _bodies(target, settings, draw):
                group.create_task(ask(body))
    except ExceptionGroup as trouble:
        raise AnswerLost(f"{target.name}: {trouble.exceptions[0]}") from trouble
    load.seconds = time.perf_counter() - began
    return load


def _bodies(
    target: Target, settings: AdaptersSettings, draw: random.Random
) -> Iterator[dict[str, Any]]:
    for number in range(settings.requests):
        tokens = range(_FIRST_TOKEN, settings.vocabulary)
        yield {
            "model": target.models[number % len(target.models)],
            "prompt": draw.choices(tokens, k=settings.prompt),
            "max_tokens": settings.answer,
            "ignore_eos": True,
            "temperature": 0,
            "stream": True,
        }


async def _ask(session: aiohttp.ClientSession, url: str, body: dict[str, Any], load: Load) -> None:
    """Every event of a completion but the last is a token, or several that came at once."""
    began = last = time.perf_counter()
    content = b""
    async with session.post(f"{url}/v1/completions", json=body) as reply:
        async for line in reply.content:
            if line.startswith(b"data: {"):
                now = time.perf_counter()
                (load.gaps if content else load.first).append(now - last)
                last = now
            content = line if line.strip() else content
    if reply.status != 200 or content.strip() != b"data: [DONE]":
        raise AnswerLost(f"{url} answered {reply.status} after {last - began:.1f} s: {content!r}")
    load.tokens += body["max_tokens"]


def grid(loads: dict[str, list[Load]], settings: AdaptersSettings, title: str) -> Grid:
    """Rates as ratios to the first of them, round by round."""
    rates = {name: [one.rate for one in taken] for name, taken in loads.items()}
    rows = tuple(
        (
            name,
            Spread.of(rates[name]).show(0),
            paired_ratio(rates[name], next(iter(rates.values()))).show(),
            *_millis([second for one in taken for second in one.first]),
            *_millis([second for one in taken for second in one.gaps]),
        )
        for name, taken in loads.items()
    )
    head = (
        "who",
        "tokens/s",
        "ratio",
        "first token ms, p50",
        "p99",
        "between tokens ms, p50",
        "p99",
    )
    load = f"{settings.clients} at once, {settings.prompt} tokens in, {settings.answer} out"
    return Grid(f"{title}: {load}, {settings.rounds} rounds of {settings.requests}", head, rows)


def _millis(seconds: Sequence[float]) -> tuple[str, str]:
    middle, most = np.percentile(seconds, [50, 99])
    return f"{1000 * middle:.1f}", f"{1000 * most:.1f}"
