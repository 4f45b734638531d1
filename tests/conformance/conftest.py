"""Others' clients and test suites against the demonstration model, every answer looked at."""

from collections.abc import Iterator

import pytest

from tests.conformance.watching import Watcher
from tests.live import LiveService
from tests.service.fake_engine import serving


@pytest.fixture(scope="session")
def watcher(live: LiveService) -> Iterator[tuple[Watcher, str]]:
    """What is answered, and the address to ask at."""
    found = Watcher(live.url)
    with serving(found.app) as url:
        yield found, url


@pytest.fixture
def url(watcher: tuple[Watcher, str]) -> Iterator[str]:
    """Where to ask; after the test every answer must be as OpenAI describes it."""
    found, address = watcher
    found.exchanges.clear()
    yield f"{address}/v1"
    for exchange in found.exchanges:
        exchange.check()
