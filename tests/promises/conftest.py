"""What several promises need: a service with an engine of its own, which they may kill."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.live import LiveService

SETTINGS = {
    # It loses patience sooner; but a busy machine needs some.
    "DSLM_ENGINE_STALL_SECONDS": "12",
    "DSLM_MAX_CONCURRENT": "4",
    "DSLM_MAX_CONCURRENT_DOMAIN": "3",
    "DSLM_MAX_QUEUED": "4",
    "DSLM_MAX_LORAS": "1",
}


@pytest.fixture(scope="session")
def own(
    indexed: tuple[Path, Path], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[LiveService]:
    """Two small domains before real vLLM, with few places: `garden`, and `pantry` that quotes."""
    store = tmp_path_factory.mktemp("own") / "store"
    shutil.copytree(indexed[0], store)
    service = LiveService(store, {**SETTINGS, "DSLM_DOMAINS": str(indexed[1])}).start()
    try:
        yield service.ready()
    finally:
        code = service.stop()
    assert code == 0, service.log()
