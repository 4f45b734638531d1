"""Others' clients and test suites against the demonstration model, every answer looked at."""

from collections.abc import Iterator
from pathlib import Path

import pytest
import pytest_asyncio

from tests.conformance.watching import Watcher
from tests.live import LiveService
from tests.service.fake_engine import serving

HERE = Path(__file__).parent


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """One loop for all: LangChain and LiteLLM keep one async client for the whole process."""
    for item in items:
        if item.path.parent == HERE and pytest_asyncio.is_async_test(item):
            item.add_marker(pytest.mark.asyncio(loop_scope="session"), append=False)


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
