"""`python -m eval rolling`: its options, the service it starts, and how its engines are ended."""

import asyncio
import os
import signal
import tempfile
from contextlib import suppress
from pathlib import Path
from typing import Annotated, Final

import psutil
import typer
from rich.console import Console

from eval.client import Client
from eval.progress import say
from eval.report import show
from eval.rolling import Rolled, Rolling, RollingSettings, grids
from eval.running import ROOT, Running, running_service, wait_ready
from indexer.errors import DslmError

LAUNCHER: Final = "launch.py"
# The example domains; legal has no adapter, and is answered by the bare base.
VERSIONS: Final = {
    "support": ("support-style@1", "support-style@2"),
    "clinic": ("clinic-triage@1", "clinic-triage@2"),
    "legal": (),
}
ENGINES: Final = '[[engine]]\nname = "base"\nbase = "{base}"\ngpus = [{gpus}]\n'


class Noticed(DslmError):
    """A client saw what none may see."""


def rolling(
    engines: Annotated[int, typer.Option(min=2, help="vLLM processes of the base")] = 3,
    clients: Annotated[int, typer.Option(min=1, help="streams at once")] = 64,
    tokens: Annotated[int, typer.Option(min=2, help="tokens of each answer")] = 64,
    rounds: Annotated[int, typer.Option(min=1, help="how often each engine is ended")] = 1,
) -> None:
    """End each engine in turn by SIGKILL under streams, and change adapters meanwhile.

    Starts a service of its own with the example domains; engine n sees GPU n, where there are GPUs.
    Ends with 1 if an answer failed before its first byte, or stopped without a word.

    Example: python -m eval rolling --engines 3 --clients 64
    """
    settings = RollingSettings(VERSIONS, clients, tokens)
    with tempfile.TemporaryDirectory(prefix="dslm-rolling-") as place:
        folder = Path(place)
        with running_service(folder, _environment(folder, engines)) as own:
            seen = asyncio.run(_roll(own, settings, engines, rounds))
    console = Console()
    for grid in grids(seen):
        show(console if console.is_terminal else Console(width=120), grid)
    for reason, count in seen.reasons.most_common(5):
        say(f"{count} x {reason}")
    if seen.broken:
        raise Noticed(f"{seen.broken} answers failed as none may", "See the table")


def _environment(folder: Path, engines: int) -> dict[str, str]:
    """The base of DSLM_BASE, or the demonstration base, once for each engine."""
    base = os.environ.get("DSLM_BASE") or str(ROOT / "deploy" / "demo" / "model")
    gpus = ", ".join(f'"{number}"' for number in range(engines))
    file = folder / "engines.toml"
    file.write_text(ENGINES.format(base=base, gpus=gpus), encoding="utf-8")
    return {
        "DSLM_ENGINES": str(file),
        # The streams of all engines may stand still while one of them starts on the same cores.
        "DSLM_ENGINE_STALL_SECONDS": "120",
    }


async def _roll(own: Running, settings: RollingSettings, engines: int, rounds: int) -> Rolled:
    async with Client(own.url, concurrency=settings.clients) as client:
        say(f"starting {engines} engines")
        await wait_ready(client, own.process, own.log)
        while await client.engines_ready("base") < engines:
            await asyncio.sleep(0.5)
        say(f"{settings.clients} streams; every engine is ended in turn")
        ends = [lambda: _end_oldest(own)] * engines * rounds
        return await Rolling(client, settings, engines, ends, say).run()


def _end_oldest(own: Running) -> None:
    """End the engine that runs longest, with all it started: each has its turn."""
    oldest = min(_engines(own), key=lambda process: process.create_time())
    for process in (*oldest.children(recursive=True), oldest):
        with suppress(psutil.NoSuchProcess):
            os.kill(process.pid, signal.SIGKILL)


def _engines(own: Running) -> list[psutil.Process]:
    """vLLM's servers; what they left to watch over them has the same command line."""
    below = psutil.Process(own.process.pid).children(recursive=True)
    ours = {p.pid: p for p in below if any(LAUNCHER in part for part in p.cmdline())}
    return [process for process in ours.values() if process.ppid() not in ours]
