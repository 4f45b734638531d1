"""Builds the service from its settings: the only place that chooses parts."""

import asyncio
import os
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from adapters.base import BaseProfile
from adapters.registry import AdapterRegistry
from indexer.domain import load_domains
from indexer.settings import Paths
from service.answer.embedding import Embedders
from service.answer.gateway import Gateway
from service.answer.releases import Releases
from service.answer.retrieval import Retrieval
from service.answer.tokens import TokenCounter
from service.child import ChildSettings
from service.documents import Documents
from service.engines.command import BASE_NAME, engine_command, engine_environment
from service.engines.engine import Engine
from service.engines.process import ElsewhereHost, EngineHost, EngineProcess
from service.engines.supervisor import EngineSupervisor
from service.engines.switch import AdapterSwitch
from service.engines.watch import Patience
from service.jobs import Jobs
from service.settings import ServiceSettings
from service.telemetry import Telemetry


@dataclass(frozen=True, slots=True)
class Service:
    """Everything that the routes need. `provisioned`: set once no domain is being prepared."""

    settings: ServiceSettings
    base: BaseProfile
    context: int
    telemetry: Telemetry
    engine: Engine
    supervisor: EngineSupervisor
    switch: AdapterSwitch
    embedders: Embedders
    releases: Releases
    gateway: Gateway
    documents: Documents
    jobs: Jobs
    provisioned: asyncio.Event

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Start the engine and follow LIVE for the block; stop everything at its end."""
        tasks = [
            asyncio.create_task(self.supervisor.run()),
            asyncio.create_task(self.releases.follow()),
        ]
        try:
            await asyncio.to_thread(self.documents.clear_stale)
            await self.jobs.open(self.releases.domains)
            yield
        finally:
            await self.jobs.close()
            tasks[1].cancel()
            await asyncio.wait(tasks[1:])
            await self.releases.close()
            tasks[0].cancel()
            await asyncio.wait(tasks[:1])
            self.embedders.close()
            await self.engine.close()


def build(settings: ServiceSettings, host: EngineHost | None = None) -> Service:
    """Wire the service. Raises BadInput for a base, a domain or a port that cannot be used."""
    paths = Paths(settings.store)
    base = BaseProfile.read(settings.base)
    context = settings.max_model_len or base.context
    domains = load_domains(settings.domains)
    telemetry = Telemetry()
    url, host = _engine(settings, host)
    engine = Engine(url, settings.engine_read_seconds)
    registry = AdapterRegistry(paths)
    meters = telemetry.of_engine(BASE_NAME)
    switch = AdapterSwitch(engine, registry, settings.max_cpu_loras, meters)
    supervisor = EngineSupervisor(
        engine,
        host,
        switch.reconcile,
        switch.engine_ended,
        meters,
        start_seconds=settings.engine_start_seconds,
        crash_limit=settings.engine_crashes,
        patience=Patience(settings.engine_stall_seconds, settings.engine_idle_seconds),
    )
    embedders = Embedders(telemetry)
    releases = Releases(domains, paths, registry, switch, base, telemetry)
    gateway = Gateway(
        releases,
        Retrieval(embedders),
        engine,
        supervisor,
        TokenCounter(str(base.folder)),
        context,
    )
    return Service(
        settings,
        base,
        context,
        telemetry,
        engine,
        supervisor,
        switch,
        embedders,
        releases,
        gateway,
        Documents(paths, list(domains)),
        Jobs(
            paths.jobs,
            ChildSettings(job_environment(settings)),
            releases.refresh,
            settings.max_jobs,
        ),
        asyncio.Event(),
    )


def job_environment(settings: ServiceSettings) -> dict[str, str]:
    """A job sees the same store, domains, adapters and base as the service, wherever it runs."""
    base = Path(settings.base).expanduser()
    return {
        **os.environ,
        "DSLM_STORE": str(settings.store.resolve()),
        "DSLM_DOMAINS": str(settings.domains.resolve()),
        "DSLM_ADAPTERS": str(settings.adapters.resolve()),
        "DSLM_BASE": str(base.resolve()) if base.exists() else settings.base,
    }


def _engine(settings: ServiceSettings, host: EngineHost | None) -> tuple[str, EngineHost]:
    if settings.engine_urls:
        return settings.engine_urls.split()[0], host or ElsewhereHost()
    port = settings.engine_port or _free_port()
    command = engine_command(settings, port)
    log = settings.store / "logs" / "engine.log"
    child = EngineProcess(command, engine_environment(settings), log)
    return f"http://127.0.0.1:{port}", host or child


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
    return port
