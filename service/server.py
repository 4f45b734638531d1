"""Runs the service on its port until it is told to stop."""

import asyncio
import errno
import logging
import socket
import sys
import time

import uvicorn

from indexer.errors import BadInput, DslmError
from service.app import create_app
from service.bootstrap import Service, build
from service.provision import provision
from service.settings import ServiceSettings

log = logging.getLogger("dslm")
QUESTIONS = {
    "support": "How often should I descale the machine?",
    "legal": "What is the notice period of the lease?",
    "clinic": "When is the clinic open?",
}


def serve(settings: ServiceSettings) -> int:
    """Serve until SIGINT or SIGTERM; 0 after a clean stop, 1 if the engine cannot be kept up."""
    logging.basicConfig(level=logging.WARNING, format="%(name)s: %(message)s", stream=sys.stderr)
    log.setLevel(logging.INFO)
    with bind(settings) as listener:
        return asyncio.run(_serve(settings, listener))


def bind(settings: ServiceSettings) -> socket.socket:
    """Take the port first: nothing costly is started for a port that is in use."""
    listener = socket.socket(socket.AF_INET6 if ":" in settings.host else socket.AF_INET)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((settings.host, settings.port))
    except OSError as error:
        listener.close()
        where = f"{settings.host}:{settings.port}"
        if error.errno == errno.EADDRINUSE:
            remedy = "Stop what listens there, or set DSLM_PORT to another port"
            raise BadInput(f"The port {where} is in use", remedy) from error
        raise BadInput(f"Cannot listen on {where}: {error.strerror}", "Set DSLM_HOST") from error
    return listener


async def _serve(settings: ServiceSettings, listener: socket.socket) -> int:
    service = await asyncio.to_thread(build, settings)
    config = uvicorn.Config(
        create_app(service),
        log_level="warning",
        access_log=False,
        timeout_graceful_shutdown=max(1, round(settings.drain_seconds)),
    )
    server = uvicorn.Server(config)
    starting = asyncio.create_task(_start(service, server, listener))
    try:
        await server.serve(sockets=[listener])
    finally:
        starting.cancel()
        await asyncio.gather(starting, return_exceptions=True)
    return 1 if service.supervisor.state == "failed" else 0


async def _start(service: Service, server: uvicorn.Server, listener: socket.socket) -> None:
    """Provision while the engine starts, say what happens, and stop if it cannot start."""
    began = time.monotonic()
    say(f"starting the engine with {service.base.name} (log: {service.settings.store}/logs)")
    providing = asyncio.create_task(_provide(service))
    while not await _ready(service):
        if service.supervisor.state == "failed":
            say(f"error: the engine cannot be started\n{service.supervisor.last_words()}")
            server.should_exit = True
            return
        await asyncio.sleep(0.2)
    await providing
    say(banner(service, listener.getsockname()[1], time.monotonic() - began))
    while service.supervisor.state != "failed":
        await service.supervisor.changed.wait()
    server.should_exit = True


async def _provide(service: Service) -> None:
    try:
        await provision(service.settings, service.base, say)
    except DslmError as error:
        say(f"error: {error}")


async def _ready(service: Service) -> bool:
    live = service.releases.live()
    return service.supervisor.state == "ready" and all(d in live for d in service.releases.domains)


def banner(service: Service, port: int, seconds: float) -> str:
    """What is served and one line to try it with."""
    url = f"http://{service.settings.host}:{port}"
    live = service.releases.live()
    lines = [
        f"  {name}: release {release.number}, {release.mode}, "
        f"{release.adapter.label if release.adapter else 'no adapter'}"
        for name, release in live.items()
    ]
    name = next(iter(live), "base")
    question = QUESTIONS.get(name, "What do the documents say?")
    body = f'{{"model": "{name}", "messages": [{{"role": "user", "content": "{question}"}}]}}'
    head = f"ready after {seconds:.0f} s: {url}/v1 serves"
    call = f"curl -s {url}/v1/chat/completions -H 'Content-Type: application/json' -d '{body}'"
    return "\n".join([head, *lines, f"try: {call}", "stop: Ctrl-C"])


def say(line: str) -> None:
    """One line for the person who started the service."""
    sys.stdout.write(line + "\n")
    sys.stdout.flush()
