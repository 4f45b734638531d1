"""What a start does for domains that cannot answer yet: adapters registered, documents indexed."""

import asyncio
import sys
from pathlib import Path

from adapters.base import BaseProfile
from adapters.registry import AdapterRegistry
from adapters.release import ReleaseStore
from indexer.domain import Domain, load_domains
from indexer.errors import DslmError
from indexer.settings import Paths
from service.bootstrap import job_environment
from service.settings import ServiceSettings
from service.shipped import Say, register_adapters


async def provision(settings: ServiceSettings, base: BaseProfile, say: Say) -> None:
    """Register shipped adapters, then index every domain that has no release for this base."""
    paths = Paths(settings.store)
    await asyncio.to_thread(register_adapters, settings, base, say)
    store = ReleaseStore(paths)
    missing = []
    for domain in load_domains(settings.domains).values():
        live = store.live(domain.name)
        if live is None:
            missing.append(domain.name)
        elif live.base != base.digest:
            _move(store, paths, domain, base, say)
    if missing:
        await _index(settings, missing, say)


def _move(store: ReleaseStore, paths: Paths, domain: Domain, base: BaseProfile, say: Say) -> None:
    """Release a domain again for another base: its adapter was trained for the old one."""
    adapter = None
    if domain.adapter:
        try:
            found = AdapterRegistry(paths).get(domain.adapter)
            adapter = found if found.base.digest == base.digest else None
        except DslmError:
            adapter = None
    store.create(domain, adapter=adapter, base=base.digest, note="moved to another base")
    label = adapter.label if adapter else "no adapter"
    say(f"{domain.name}: released for {base.name} with {label}")


async def _index(settings: ServiceSettings, names: list[str], say: Say) -> None:
    """In a child process: the service never indexes in its own."""
    child = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "dslm",
        "index",
        *names,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
        cwd=Path(__file__).resolve().parent.parent,
        env=job_environment(settings),
    )
    try:
        assert child.stdout is not None
        async for line in child.stdout:
            say(line.decode(errors="replace").rstrip())
        if await child.wait():
            say(f"indexing ended with exit code {child.returncode}; see above")
    finally:
        if child.returncode is None:
            child.terminate()
            await child.wait()
