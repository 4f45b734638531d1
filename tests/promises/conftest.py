"""What several promises need: a second service with an engine of its own, which they may kill."""

import shutil
from collections.abc import Iterator

import pytest

from tests.live import LiveService

SETTINGS = {
    # Little room, so that everything has to take turns.
    "DSLM_MAX_LORAS": "2",
    "DSLM_MAX_CPU_LORAS": "2",
    "DSLM_MAX_CONCURRENT": "4",
    "DSLM_MAX_CONCURRENT_DOMAIN": "3",
    "DSLM_MAX_QUEUED": "4",
    # It loses patience sooner; but a busy machine needs some.
    "DSLM_ENGINE_STALL_SECONDS": "12",
}


@pytest.fixture(scope="session")
def second(live: LiveService, tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveService]:
    """A copy of the shared service's store behind an engine that has only just started."""
    store = tmp_path_factory.mktemp("own") / "store"
    shutil.copytree(live.store, store, ignore=shutil.ignore_patterns("jobs", "logs", ".services"))
    service = LiveService(store, SETTINGS).start()
    try:
        yield service.ready()
    finally:
        code = service.stop()
    assert code == 0, service.log()


@pytest.fixture
def own(second: LiveService) -> LiveService:
    """The second service, started again if a test has ended it."""
    if second.child.poll() is not None:
        second.start().ready()
    return second
