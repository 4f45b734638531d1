"""What a start does for domains that cannot answer yet: adapters registered, documents indexed."""

import asyncio
from collections.abc import Mapping

from adapters.registry import AdapterRegistry
from adapters.release import ReleaseStore
from indexer.domain import Domain, load_domains
from indexer.errors import DslmError
from indexer.settings import Paths
from service.engines.bases import ServedBase
from service.jobs import Jobs
from service.settings import ServiceSettings
from service.shipped import Say, register_adapters


async def provision(
    settings: ServiceSettings, bases: Mapping[str, ServedBase], jobs: Jobs, say: Say
) -> None:
    """Register shipped adapters, then index every domain that has no release for this base."""
    paths = Paths(settings.store)
    profiles = [base.profile for base in bases.values() if base.profile]
    await asyncio.to_thread(register_adapters, settings, profiles, say)
    store = ReleaseStore(paths)
    missing = []
    for domain in load_domains(settings.domains).values():
        live, base = store.live(domain.name), bases[domain.base]
        if live is None:
            missing.append(domain.name)
        elif live.base != base.digest:
            _move(store, paths, domain, base, say)
    await jobs.opened.wait()
    for name in missing:
        await _index(jobs, name, say)


def _move(store: ReleaseStore, paths: Paths, domain: Domain, base: ServedBase, say: Say) -> None:
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
    say(f"{domain.name}: released for {base.title} with {label}")


async def _index(jobs: Jobs, name: str, say: Say) -> None:
    """By a job like any other; one that an earlier service began is gone on with."""
    job = jobs.unfinished(name) or await jobs.start(name)
    phase = None
    async for seen in jobs.watch(job.id, patience=60):
        if seen and seen.phase != phase:
            phase = seen.phase
            say(f"{name}: {phase}")
    for left_out in job.quarantined:
        say(f"{name}: left out {left_out.get('path')}: {left_out.get('reason')}")
    if job.result:
        told = ("documents", "chunks", "demonstrations", "release")
        say(f"{name}: " + ", ".join(f"{key} {job.result.get(key)}" for key in told))
    else:
        say(f"{name}: indexing {job.status}. {job.error or ''}")
