"""What stands side by side in a measurement of speed: the service and its peers, over one upstream.

Each is a process of its own, so that its CPU time is its own.
"""

import asyncio
import shutil
import sys
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AbstractContextManager, ExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from subprocess import Popen

import httpx

from eval.bench import litellm_proxy
from eval.bench.indexing_child import DidNotRun
from eval.running import (
    ROOT,
    DidNotStart,
    free_port,
    running_process,
    running_service,
)

HTTPX, AIOHTTP, FASTAPI = "bare httpx", "bare aiohttp", "bare FastAPI + aiohttp"
LITELLM = "LiteLLM proxy"
SERVICE, DOMAIN = "service, base", "service, domain with retrieval"
DOMAIN_NAME = "support"
# The upstream answers at any length, so the demonstration base's own context must not stop us.
CONTEXT = "1000000"
START_SECONDS = 180.0
BARE = {HTTPX: "httpx", AIOHTTP: "aiohttp", FASTAPI: "fastapi"}
Say = Callable[[str], None]
Process = Popen[bytes]


@dataclass(frozen=True, slots=True)
class Target:
    """A relay under test: where it listens, what it is asked for, whose CPU time counts.

    `copies`: it passes on what comes, event by event.
    """

    name: str
    url: str
    pid: int
    model_name: str
    copies: bool = True


def cpu_seconds(pid: int) -> float:
    """CPU time of a process and all its threads, to the nanosecond.

    Linux encodes the clock of process `pid` as `~pid << 3 | 2`; /proc counts in 10 ms only.
    """
    return time.clock_gettime((~pid << 3) | 2)


@asynccontextmanager
async def started(
    names: Sequence[str], folder: Path, gap: float, say: Say
) -> AsyncIterator[list[Target]]:
    """The named ones, ready; a peer that cannot be had is told of and left out."""
    upstream = free_port()
    address = f"http://127.0.0.1:{upstream}"
    with ExitStack() as stack:
        script = ["eval.bench.upstream", str(upstream), str(gap)]
        stack.enter_context(_module(script, folder / "upstream.log"))
        targets = []
        for name in names:
            if name in BARE:
                targets.append(await _bare(name, folder, address, stack))
            elif name == LITELLM:
                targets += await _litellm(folder, address, stack, say)
        targets += await _service(names, folder, address, stack, say)
        yield targets


async def _bare(name: str, folder: Path, address: str, stack: ExitStack) -> Target:
    port, log = free_port(), folder / f"{BARE[name]}.log"
    script = ["eval.bench.bare", BARE[name], str(port), address]
    process = stack.enter_context(_module(script, log))
    url = f"http://127.0.0.1:{port}"
    await answering(f"{url}/ready", process, log)
    return Target(name, url, process.pid, "base")


async def _litellm(folder: Path, address: str, stack: ExitStack, say: Say) -> list[Target]:
    port, log = free_port(), folder / "litellm.log"
    say(f"installing {litellm_proxy.PACKAGE} once into {litellm_proxy.home()}")
    try:
        program = await asyncio.to_thread(litellm_proxy.install)
    except DidNotRun as error:
        say(f"without {LITELLM}, which cannot be installed here: {error}")
        return []
    command, environment = litellm_proxy.command(program, folder, port, address)
    process = stack.enter_context(running_process(command, log, environment))
    url = f"http://127.0.0.1:{port}"
    await answering(f"{url}/health/liveliness", process, log)
    return [Target(LITELLM, url, process.pid, "base", copies=False)]


async def _service(
    names: Sequence[str], folder: Path, address: str, stack: ExitStack, say: Say
) -> list[Target]:
    wanted = [name for name in (SERVICE, DOMAIN) if name in names]
    if not wanted:
        return []
    say(f"starting the service (log: {folder / 'service.log'})")
    own = stack.enter_context(running_service(folder, service_settings(folder, address)))
    await answering(f"{own.url}/ready", own.process, own.log)
    models = {SERVICE: "base", DOMAIN: DOMAIN_NAME}
    return [Target(name, own.url, own.process.pid, models[name]) for name in wanted]


def service_settings(folder: Path, engine: str) -> dict[str, str]:
    """The real service over the scripted engine, with one domain to index."""
    domains = folder / "domains"
    source = ROOT / "deploy" / "demo" / "domains" / DOMAIN_NAME
    if not domains.exists():
        shutil.copytree(source, domains / DOMAIN_NAME)
    return {
        "DSLM_ENGINE_URLS": engine,
        "DSLM_DOMAINS": str(domains),
        "DSLM_MAX_MODEL_LEN": CONTEXT,
        "DSLM_PROBE_ADAPTERS": "false",  # a script knows no log-probabilities
    }


def _module(arguments: list[str], log: Path) -> AbstractContextManager[Process]:
    return running_process([sys.executable, "-m", *arguments], log, {})


async def answering(url: str, process: Process, log: Path, every: float = 0.25) -> None:
    """Wait for a 200. DidNotStart with the end of its log if it ends first, or takes too long."""
    end = time.monotonic() + START_SECONDS
    async with httpx.AsyncClient(trust_env=False) as client:
        while not await _is_well(client, url):
            if process.poll() is not None or time.monotonic() > end:
                lines = log.read_text(encoding="utf-8", errors="replace").splitlines()[-15:]
                raise DidNotStart(f"{url} does not answer\n" + "\n".join(lines), "See above")
            await asyncio.sleep(every)


async def _is_well(client: httpx.AsyncClient, url: str) -> bool:
    try:
        return (await client.get(url)).status_code == 200
    except httpx.TransportError:
        return False
