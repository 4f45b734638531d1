"""Builds the service from its settings: the only place that chooses parts."""

import asyncio
import os
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from adapters.registry import AdapterRegistry
from indexer.domain import load_domains
from indexer.settings import Paths
from service.answer.embedding import Embedders
from service.answer.gateway import Gateway
from service.answer.planning import Planner
from service.answer.releases import Releases
from service.answer.retrieval import Retrieval
from service.answer.tokens import ByteCounter, TokenCounter, Tokens
from service.answered import AnswerNotes
from service.child import ChildSettings
from service.documents import Documents
from service.engines.bases import ServedBase, read_bases
from service.engines.entries import check_bases, read_entries
from service.engines.fleet import Engines
from service.engines.planned import MemoryPlan, plan_memory
from service.engines.units import EngineBuilder
from service.jobs import Jobs
from service.settings import ServiceSettings
from service.telemetry import Telemetry


@dataclass(frozen=True, slots=True)
class Service:
    """Everything that the routes need. `provisioned`: set once no domain is being prepared."""

    settings: ServiceSettings
    bases: Mapping[str, ServedBase]
    plan: MemoryPlan
    telemetry: Telemetry
    engines: Engines
    embedders: Embedders
    releases: Releases
    gateway: Gateway
    notes: AnswerNotes
    documents: Documents
    jobs: Jobs
    provisioned: asyncio.Event

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Start the engines and follow LIVE for the block; stop everything at its end."""
        tasks = [
            asyncio.create_task(self.engines.run()),
            asyncio.create_task(self.releases.follow()),
            asyncio.create_task(self.notes.run()),
        ]
        try:
            await asyncio.to_thread(self.documents.clear_stale)
            await self.jobs.open(self.releases.domains)
            yield
        finally:
            await self.jobs.close()
            for task in tasks[1:]:
                task.cancel()
            await asyncio.wait(tasks[1:])
            await self.releases.close()
            tasks[0].cancel()
            await asyncio.wait(tasks[:1])
            self.embedders.close()
            await self.engines.close()


def build(settings: ServiceSettings) -> Service:
    """Wire the service. Raises BadInput for a base, a domain or a port that cannot be used."""
    paths = Paths(settings.store)
    domains = load_domains(settings.domains)
    check_bases(read_entries(settings), domains)
    bases = read_bases(settings)
    plan = plan_memory(bases, settings, domains)
    telemetry, registry = Telemetry(), AdapterRegistry(paths)
    engines = EngineBuilder(settings, registry, telemetry, plan).build(bases)
    embedders = Embedders(telemetry)
    retrieval = Retrieval(embedders)
    releases = Releases(domains, paths, registry, engines, telemetry)
    planners = {pool.name: Planner(retrieval, tokens_of(pool.base), pool) for pool in engines}
    return Service(
        settings,
        bases,
        plan,
        telemetry,
        engines,
        embedders,
        releases,
        Gateway(releases, planners),
        AnswerNotes(paths, settings.answer_notes_mb, telemetry.releases),
        Documents(paths, list(domains)),
        Jobs(
            paths.jobs,
            ChildSettings(job_environment(settings)),
            releases.refresh,
            settings.max_jobs,
        ),
        asyncio.Event(),
    )


def tokens_of(base: ServedBase) -> Tokens:
    """By its own tokenizer; of an external model by its bytes."""
    if base.folder is None:
        return ByteCounter(base.entry.bytes_per_token)
    return TokenCounter(str(base.folder))


def job_environment(settings: ServiceSettings) -> dict[str, str]:
    """A job sees the same store, domains, adapters and base as the service, wherever it runs."""
    base = Path(settings.base).expanduser()
    return {
        **os.environ,
        "DSLM_STORE": str(settings.store.resolve()),
        "DSLM_DOMAINS": str(settings.domains.resolve()),
        "DSLM_ADAPTERS": str(settings.adapters.resolve()),
        "DSLM_BASE": str(base.resolve()) if base.exists() else settings.base,
        **({"DSLM_ENGINES": str(settings.engines.resolve())} if settings.engines else {}),
    }
