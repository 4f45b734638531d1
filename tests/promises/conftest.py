"""What several promises need: a second service whose engine has only just started."""

import shutil
from collections.abc import Iterator

import pytest

from tests.live import LiveService


@pytest.fixture(scope="session")
def small(live: LiveService, tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveService]:
    """A copy of the shared service's store behind an engine with two places for adapters."""
    store = tmp_path_factory.mktemp("small") / "store"
    shutil.copytree(live.store, store, ignore=shutil.ignore_patterns("jobs", "logs", ".services"))
    places = {"DSLM_MAX_LORAS": "2", "DSLM_MAX_CPU_LORAS": "2"}
    service = LiveService(store, places).start()
    try:
        yield service.ready()
    finally:
        code = service.stop()
    assert code == 0, service.log()
