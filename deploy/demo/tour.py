"""`make tour`: five minutes' walk through the product with a service of its own, each step checked.

Exit code 0 if every step held and no process is left behind.
"""

import asyncio
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import psutil

from deploy.demo.walk import (
    ask_each_domain,
    ask_the_unanswerable,
    check,
    heading,
    say,
    swap_under_a_stream,
)
from eval.client import Client
from eval.running import ROOT, Running, end_like_ctrl_c, left_behind, running_service, wait_ready
from indexer.errors import DslmError

DOMAINS = ROOT / "deploy" / "demo" / "domains"
GRACE_SECONDS = 10.0


def main() -> int:
    """The whole tour."""
    end_like_ctrl_c()
    began = time.monotonic()
    try:
        with tempfile.TemporaryDirectory(prefix="dslm-tour-") as folder:
            tour(Path(folder))
    except DslmError as error:
        say(f"\nerror: {error}")
        return error.exit_code
    except KeyboardInterrupt:
        say("\nstopped")
        return 130
    say(f"\nEvery step held; {time.monotonic() - began:.0f} s.")
    return 0


def tour(folder: Path) -> None:
    """Start, walk, stop, and look whether anything stayed."""
    heading("A service of our own: it indexes the example domains and starts its engine")
    with running_service(folder) as own:
        mine = psutil.Process(own.process.pid)
        asyncio.run(walk(own))
        children = mine.children(recursive=True)
    heading("Stopped")
    check(own.process.returncode == 0, "the service ended with exit code 0")
    check(nothing_left([*children, mine], own.store), "no process is left behind")


async def walk(own: Running) -> None:
    """The steps, in order."""
    async with Client(own.url) as client:
        took = await wait_ready(client, own.process, own.log, report=lambda line: say(f"   {line}"))
        say(f"   ready after {took:.0f} s at {own.url}")
        await ask_each_domain(client, DOMAINS)
        await swap_under_a_stream(client)
        await ask_the_unanswerable(client)


def nothing_left(known: Sequence[psutil.Process], store: Path) -> bool:
    """Neither a process we knew nor one that carries our store's mark, after a short grace."""
    _, alive = psutil.wait_procs(known, timeout=GRACE_SECONDS)
    for process in (*alive, *left_behind(store)):
        say(f"   still there: {process}")
    return not alive and not left_behind(store)


if __name__ == "__main__":
    sys.exit(main())
