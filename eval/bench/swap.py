"""How long a new adapter version takes to answer: the service's swap against vLLM's own load.

Ours: `PUT /v1/domains/{d}/adapter`, then an answer of the new version. vLLM's: its
`load_lora_adapter`, then an answer of the loaded adapter. Both in turn on the same engine.
"""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from eval.client import Client
from eval.progress import phase
from eval.report import Grid
from eval.stats import Spread, paired_ratio
from indexer.errors import DslmError

OURS, THEIRS = "PUT adapter + first answer", "vLLM load_lora_adapter + first answer"
SWAP, LOAD = "PUT adapter alone", "vLLM load_lora_adapter alone"
ANSWER_TOKENS = 8


@dataclass(frozen=True, slots=True)
class SwapSettings:
    """`domain` alternates between two `versions`; vLLM loads `folders`, in the same order."""

    domain: str = "support"
    versions: tuple[str, str] = ("support-style@1", "support-style@2")
    folders: tuple[Path, Path] = (Path(), Path())
    rounds: int = 10


@dataclass(frozen=True, slots=True)
class Timing:
    """Seconds of the change alone, and until the first answer after it."""

    change: float
    answer: float


class WrongVersion(DslmError):
    """The answer after a swap came from another version: the time would mean nothing."""


async def measure(
    service: Client, engine: Client, settings: SwapSettings
) -> tuple[list[Timing], list[Timing]]:
    """Alternate; the first turn of both only warms up. Puts the domain's adapter back."""
    ours, theirs = [], []
    before = (await service.domain(settings.domain))["release"]["adapter"]
    # The live version is no change: begin with the other one.
    first = int(before is not None and _label(before) == settings.versions[0])
    try:
        with phase("swapping", settings.rounds + 1) as advance:
            for turn in range(settings.rounds + 1):
                which = (turn + first) % 2
                ours.append(await _swap(service, settings, which, turn))
                theirs.append(await _load(engine, settings.folders[which], turn))
                advance()
    finally:
        await service.set_adapter(settings.domain, _label(before) if before else None)
    return ours[1:], theirs[1:]


def grid(ours: Sequence[Timing], theirs: Sequence[Timing]) -> Grid:
    """Milliseconds of both, and their ratio."""
    rows = (
        _row(OURS, [t.answer for t in ours], [t.answer for t in theirs]),
        _row(THEIRS, [t.answer for t in theirs], [t.answer for t in theirs]),
        _row(SWAP, [t.change for t in ours], [t.change for t in theirs]),
        _row(LOAD, [t.change for t in theirs], [t.change for t in theirs]),
    )
    title = f"Until a new adapter version answers, {len(ours)} rounds: median (least to greatest)"
    return Grid(title, ("what", "milliseconds", "ratio to vLLM's"), rows)


def _row(name: str, seconds: list[float], peer: list[float]) -> tuple[str, ...]:
    micros = Spread.of([1000 * s for s in seconds])
    return name, micros.show(1), paired_ratio(seconds, peer).show()


def _label(adapter: dict[str, Any]) -> str:
    return f"{adapter['name']}@{adapter['version']}"


async def _swap(service: Client, settings: SwapSettings, which: int, turn: int) -> Timing:
    version = settings.versions[which]
    began = time.perf_counter()
    await service.set_adapter(settings.domain, version)
    changed = time.perf_counter()
    options = {**_options(), "dslm": {"passages": False, "demonstrations": False}}
    answer = await service.chat(settings.domain, _question(turn), options)
    ended = time.perf_counter()
    if answer.dslm.get("adapter") != version:
        raise WrongVersion(f"Asked for {version}, answered by {answer.dslm.get('adapter')}")
    return Timing(changed - began, ended - began)


async def _load(engine: Client, folder: Path, turn: int) -> Timing:
    name = f"bench-swap-{turn}-{time.time_ns()}"
    began = time.perf_counter()
    await engine.post("/v1/load_lora_adapter", {"lora_name": name, "lora_path": str(folder)})
    changed = time.perf_counter()
    await engine.chat(name, _question(turn), _options())
    ended = time.perf_counter()
    await engine.post("/v1/unload_lora_adapter", {"lora_name": name})
    return Timing(changed - began, ended - began)


def _options() -> dict[str, Any]:
    return {"temperature": 0, "max_tokens": ANSWER_TOKENS}


def _question(turn: int) -> list[dict[str, str]]:
    """Another text each turn: no answer may come out of the prefix cache."""
    return [{"role": "user", "content": f"{turn}: How often should I descale the machine?"}]
