"""Runs the service on its port until it is told to stop."""

import asyncio
import contextlib
import errno
import gc
import logging
import signal
import socket
import sys
import time
from collections.abc import Iterator

import uvicorn
import uvloop

from indexer.errors import BadInput, DslmError
from service.api.draining import Drain
from service.api.limits import Admission
from service.api.places import limits_of
from service.api.protocol import BoundedProtocol
from service.app import create_app
from service.bootstrap import Service, build
from service.errors import Stopping
from service.keys import KeyFile, refuse_to_stand_open
from service.logs import set_up_logging
from service.provision import provision
from service.settings import ServiceSettings

log = logging.getLogger("dslm")
BACKLOG = 2048
# At the end of a stop: for the last words to those whose answer was ended, and for connections.
FAREWELL_SECONDS = 2.0
CLOSING_SECONDS = 1
QUESTIONS = {
    "legal": "How long does a final written warning stay on my file?",
    "support": "Does the Brew Two work with 5 GHz Wi-Fi?",
    "clinic": "Where does the defibrillator hang?",
}


class Server(uvicorn.Server):
    """uvicorn, but for its signals: it would end a clean stop by killing itself again."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


def serve(settings: ServiceSettings) -> int:
    """Serve until SIGINT or SIGTERM; 0 after a clean stop, 1 if the engine cannot be kept up."""
    set_up_logging(settings)
    keys = KeyFile(settings.store, settings.keys).read()
    refuse_to_stand_open(settings.host, keys, allow_open=settings.allow_open)
    if not keys:
        log.warning("NO API KEYS: whoever reaches %s may ask and change all", settings.host)
    with bind(settings) as listener:
        # uvicorn chooses a loop only where it runs the program itself.
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            return runner.run(_serve(settings, listener))


def bind(settings: ServiceSettings) -> socket.socket:
    """Take the port first: nothing costly is started for a port that is in use."""
    listener = socket.socket(socket.AF_INET6 if ":" in settings.host else socket.AF_INET)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((settings.host, settings.port))
        listener.listen(BACKLOG)
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
    admission = Admission(limits_of(settings), service.telemetry)
    drain = Drain()
    config = uvicorn.Config(
        create_app(service, admission, drain),
        log_config=None,
        access_log=False,
        http=BoundedProtocol,
        ws="none",
        server_header=False,
        timeout_graceful_shutdown=CLOSING_SECONDS,
    )
    server = Server(config)
    told = asyncio.Event()

    def stop() -> None:
        if told.is_set():
            drain.hurry()
        told.set()

    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, stop)
    starting = asyncio.create_task(_start(service, server, listener))
    stopping = asyncio.create_task(_stop(service, server, admission, drain, told))
    try:
        await server.serve(sockets=[listener])
    finally:
        for task in (starting, stopping):
            task.cancel()
        await asyncio.gather(starting, stopping, return_exceptions=True)
    return 1 if service.engines.failed else 0


async def _stop(
    service: Service,
    server: uvicorn.Server,
    admission: Admission,
    drain: Drain,
    told: asyncio.Event,
) -> None:
    """Once told to: nothing new, what runs may end within the limit, then it is ended aloud.

    Told again, that limit is over at once.
    """
    await told.wait()
    error, seconds = Stopping(), service.settings.drain_seconds
    drain.begin()
    admission.close(error)
    jobs = asyncio.create_task(service.jobs.close())
    if drain.under_way:
        say(f"stopping: {drain.under_way} may go on for {seconds:g} s; Ctrl-C ends them now")
    await drain.wait(seconds)
    service.engines.shut(error)
    await drain.wait_for_farewells(FAREWELL_SECONDS)
    await jobs
    server.should_exit = True


async def _start(service: Service, server: uvicorn.Server, listener: socket.socket) -> None:
    """Provision while the engine starts, say what happens, and stop if it cannot start."""
    began = time.monotonic()
    for line in service.plan.lines:
        say(line)
    names = ", ".join(base.title for base in service.bases.values())
    say(f"starting the engines of {names} (logs: {service.settings.store}/logs)")
    providing = asyncio.create_task(_provide(service))
    while not (service.engines.ready and service.provisioned.is_set()):
        if service.engines.failed:
            say(f"error: no engine can be started\n{service.engines.last_words()}")
            server.should_exit = True
            return
        await asyncio.wait([providing], timeout=0.2)
        await asyncio.sleep(0.05)
    # What is loaded by now stays: looking through it for garbage halts every stream for 250 ms.
    gc.collect()
    gc.freeze()
    say(banner(service, listener.getsockname()[1], time.monotonic() - began))
    while not service.engines.failed:
        await service.engines.changed()
    server.should_exit = True


async def _provide(service: Service) -> None:
    """Prepare what cannot answer yet; a domain that fails does not keep the others waiting."""
    try:
        await provision(service.settings, service.bases, service.jobs, say)
        for name in service.releases.domains:
            await service.releases.refresh(name)
        await service.embedders.warm(service.releases.live().values())
    except DslmError as error:
        say(f"error: {error}")
    finally:
        service.provisioned.set()


def banner(service: Service, port: int, seconds: float) -> str:
    """What is served and one line to try it with."""
    url = f"http://{service.settings.host}:{port}"
    live = service.releases.live()
    lines = [
        f"  {name}: release {release.number}, {release.mode}, "
        f"{release.adapter.label if release.adapter else 'no adapter'}"
        for name, release in live.items()
    ]
    lines += [
        f"  {name}: no release, run `dslm index {name}`"
        for name in service.releases.domains
        if name not in live
    ]
    name = next((known for known in QUESTIONS if known in live), next(iter(live), "base"))
    question = QUESTIONS.get(name, "What do the documents say?")
    body = f'{{"model": "{name}", "messages": [{{"role": "user", "content": "{question}"}}]}}'
    head = f"ready after {seconds:.0f} s: {url}/v1 serves"
    call = f"curl -s {url}/v1/chat/completions -H 'Content-Type: application/json' -d '{body}'"
    return "\n".join([head, *lines, f"try: {call}", "stop: Ctrl-C"])


def say(line: str) -> None:
    """One line for the person who started the service."""
    sys.stdout.write(line + "\n")
    sys.stdout.flush()
