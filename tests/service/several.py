"""The service before several fake engines: in this process, or as processes that can be killed."""

import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import httpx

from adapters.base import BaseProfile
from adapters.registry import AdapterRegistry
from indexer.settings import Paths
from service.api.protocol import BoundedProtocol
from service.app import create_app
from service.bootstrap import build
from service.settings import DEMO, ServiceSettings
from tests.live import ROOT, free_port
from tests.service.fake_engine import FakeEngine, serving
from tests.service.product import Product


def stock(indexed: tuple[Path, Path], folder: Path, *adapters: str) -> tuple[Path, Path]:
    """A copy of the indexed store with these of the demonstration's adapters, and its domains."""
    store = folder / "store"
    shutil.copytree(indexed[0], store)
    base = BaseProfile.read(DEMO / "model")
    for adapter in adapters:
        AdapterRegistry(Paths(store)).add(DEMO / "adapters" / adapter, base=base)
    return store, indexed[1]


@contextmanager
def in_front(store: Path, domains: Path, urls: list[str], **more: Any) -> Iterator[Product]:
    """The service before engines at these addresses."""
    settings = {"engine_idle_seconds": 0, **more}
    service = build(
        ServiceSettings(store=store, domains=domains, engine_urls=" ".join(urls), **settings)
    )
    with serving(create_app(service), http=BoundedProtocol, server_header=False) as url:
        product = Product(url, FakeEngine(), service)
        product.until(lambda: service.engines.ready)
        product.until(lambda: len(service.releases.live()) == len(service.releases.domains))
        service.provisioned.set()
        yield product


@contextmanager
def several(
    stocked: tuple[Path, Path], count: int, adapter: str | None = "support-style@1"
) -> Iterator[tuple[Product, list[FakeEngine]]]:
    """The service before so many fake engines, the garden's adapter registered."""
    fakes = [FakeEngine() for _ in range(count)]
    with ExitStack() as stack:
        urls = [stack.enter_context(serving(fake.app)) for fake in fakes]
        product = stack.enter_context(in_front(*stocked, urls))
        product.until(lambda: all(unit.ready for unit in product.service.engines.units))
        set_adapter(product, adapter)
        yield product, fakes


def set_adapter(product: Product, adapter: str | None) -> None:
    url = f"{product.url}/v1/domains/garden/adapter"
    httpx.put(url, json={"adapter": adapter}, timeout=30).raise_for_status()


ENGINE = """
import sys, uvicorn
from tests.service.fake_engine import FakeEngine
engine = FakeEngine()
engine.pause = 0.05
uvicorn.run(engine.app, port=int(sys.argv[1]), log_level="critical", interface="asgi3")
"""


def start_engine(port: int) -> subprocess.Popen[bytes]:
    """A fake engine that can really be killed."""
    return subprocess.Popen([sys.executable, "-c", ENGINE, str(port)], cwd=ROOT)


@contextmanager
def engine_processes(count: int) -> Iterator[dict[int, subprocess.Popen[bytes]]]:
    """So many, by their ports; whoever kills one may put another in its place."""
    started = {port: start_engine(port) for port in [free_port() for _ in range(count)]}
    try:
        yield started
    finally:
        for child in started.values():
            child.kill()
            child.wait()
