"""`dslm bench adapters`: its options, the base, and the service that it starts."""

import asyncio
import os
import tempfile
from pathlib import Path
from typing import Annotated

import typer

from adapters.base import BaseProfile
from eval.bench.adapters import (
    AdaptersSettings,
    Load,
    grid,
    load_adapters,
    measure,
    targets,
)
from eval.bench.service_commands import AsMarkdown, Rounds, show_all
from eval.bench.shaped import SHAPES, write_adapter, write_base
from eval.client import Client
from eval.progress import say
from eval.running import ROOT, Running, running_service, wait_ready
from indexer.errors import BadInput

DEFAULT = AdaptersSettings()


def adapters(
    base: Annotated[str, typer.Option(help="a shape (7b, 8b, ...), a folder or a hub id")] = "",
    counts: Annotated[str, typer.Option(help="of adapters, by commas")] = "0,1,2,4",
    rank: Annotated[int, typer.Option(min=1, max=512, help="of each adapter")] = 16,
    clients: Annotated[int, typer.Option(min=1, help="requests at once")] = DEFAULT.clients,
    requests: Annotated[int, typer.Option(min=1, help="of a turn")] = DEFAULT.requests,
    prompt: Annotated[int, typer.Option(min=1, help="tokens of each prompt")] = DEFAULT.prompt,
    answer: Annotated[int, typer.Option(min=2, help="tokens of each answer")] = DEFAULT.answer,
    rounds: Rounds = DEFAULT.rounds,
    layers: Annotated[int, typer.Option(min=0, help="of a shape; 0: all of them")] = 0,
    as_markdown: AsMarkdown = False,
) -> None:
    """Tokens a second and latency of vLLM with none to many adapters, and of the service before it.

    A shape gets random weights: what it says is nonsense, what it costs is not. Without --base it
    is DSLM_BASE, or the demonstration base.

    Example: python -m eval.bench adapters --base 7b --counts 0,1,4,8,16,32 --clients 64
    """
    numbers = tuple(_count(part) for part in counts.split(","))
    with tempfile.TemporaryDirectory(prefix="dslm-bench-") as place:
        folder = Path(place)
        chosen = base or os.environ.get("DSLM_BASE") or str(ROOT / "deploy" / "demo" / "model")
        shaped = chosen.casefold() in {shape.casefold() for shape in SHAPES}
        profile = BaseProfile.read(write_base(chosen, folder, layers) if shaped else chosen)
        vocabulary = profile.modules["lm_head"][0]
        settings = AdaptersSettings(numbers, clients, requests, prompt, answer, rounds, vocabulary)
        environment = _environment(profile, folder, numbers, rank, dummy=shaped)
        lora = write_adapter(profile, folder / "adapter", rank)
        with running_service(folder, environment) as own:
            loads = asyncio.run(_measure(own, lora, settings))
    show_all([grid(loads, settings, f"{profile.name}, rank {rank}")], as_markdown)


async def _measure(own: Running, lora: Path, settings: AdaptersSettings) -> dict[str, list[Load]]:
    async with Client(own.url) as client:
        say("starting a service of its own")
        await wait_ready(client, own.process, own.log)
    names = await load_adapters(own.engine_url, lora, max(settings.counts))
    return await measure(targets(own.url, own.engine_url, names, settings.counts), settings)


def _environment(
    profile: BaseProfile, folder: Path, counts: tuple[int, ...], rank: int, *, dummy: bool
) -> dict[str, str]:
    """No domains: nothing but the engine may be at work, and as many places as adapters."""
    (folder / "domains").mkdir()
    (folder / "adapters").mkdir()
    places = str(max(1, *counts))
    return {
        "DSLM_BASE": str(profile.folder),
        "DSLM_DOMAINS": str(folder / "domains"),
        "DSLM_ADAPTERS": str(folder / "adapters"),
        "DSLM_MAX_LORAS": places,
        "DSLM_MAX_CPU_LORAS": places,
        "DSLM_MAX_LORA_RANK": str(rank),
        "DSLM_ENGINE_ARGUMENTS": "--load-format dummy" if dummy else "",
    }


def _count(part: str) -> int:
    if not part.strip().isdecimal():
        raise BadInput(f"--counts: {part!r} is no number of adapters", "Give numbers, 0 for none")
    return int(part)
