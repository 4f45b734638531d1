"""A service over a copy of the indexed store: two versions of an adapter, and a release each."""

import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from statistics import median
from typing import Any

import httpx

from adapters.base import BaseProfile
from adapters.registry import AdapterRegistry
from adapters.release import ReleaseStore
from indexer.domain import load_domains
from indexer.settings import Paths
from service.settings import ServiceSettings
from service.shipped import register_adapters
from tests.service.product import Product, running

FIRST, SECOND = "support-style@1", "support-style@2"
BARE = {"passages": False, "demonstrations": False}


def copied(indexed: tuple[Path, Path], folder: Path) -> tuple[Path, Path]:
    """The store with adapters; garden's release 2 has the first version and is live, 3 has the
    second and waits."""
    store = folder / "store"
    shutil.copytree(indexed[0], store)
    settings = ServiceSettings(store=store, domains=indexed[1])
    register_adapters(settings, [BaseProfile.read(settings.base)], print)
    domain = load_domains(indexed[1])["garden"]
    registry, releases = AdapterRegistry(Paths(store)), ReleaseStore(Paths(store))
    releases.create(domain, adapter=registry.get(FIRST))
    releases.create(domain, adapter=registry.get(SECOND), activate=False)
    return store, indexed[1]


@contextmanager
def trying(indexed: tuple[Path, Path], folder: Path, **settings: Any) -> Iterator[Product]:
    """The service over such a store."""
    with running(*copied(indexed, folder), **settings) as product:
        yield product


def releases_of(product: Product) -> ReleaseStore:
    """The store as another process sees it."""
    return ReleaseStore(Paths(product.service.settings.store))


def call(product: Product, method: str, path: str, body: Any = None) -> httpx.Response:
    """Below the domain `garden`."""
    url = f"{product.url}/v1/domains/garden/{path}"
    return httpx.request(method, url, json=body, headers=product.headers, timeout=30)


def done(response: httpx.Response) -> Any:
    assert response.status_code in (200, 201), response.text
    return response.json()


def reset(product: Product) -> None:
    """Release 2 is live again and nothing stands beside it."""
    for part in ("canary", "mirror"):
        call(product, "DELETE", part)
    done(call(product, "POST", "releases/2/activate"))


def ask(product: Product, user: str, **more: Any) -> dict[str, Any]:
    """One whole answer."""
    answer: dict[str, Any] = done(product.chat(user=user, dslm=BARE, **more))
    return answer


def metric(product: Product, name: str, **labels: str) -> float:
    """The sum of what is counted with these labels."""
    found = 0.0
    for line in product.get("/metrics").text.splitlines():
        wanted = [f'{key}="{value}"' for key, value in labels.items()]
        if line.startswith(f"{name}{{") and all(one in line for one in wanted):
            found += float(line.rsplit(" ", 1)[1])
    return found


def check_noticed(took: list[float]) -> None:
    """Within a second; once in a while longer, on a machine that has other work."""
    assert median(took) < 1, took
    assert max(took) < 5, took


def seconds_until(product: Product, condition: Any) -> float:
    """How long it takes until the condition holds."""
    began = time.monotonic()
    product.until(condition)
    return time.monotonic() - began
