"""What every test lives with: few threads, no hub, no settings of the person who runs them."""

import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.live import LiveService
    from tests.service.product import Product

# A shell that starts the tests in its background has Ctrl-C ignored, by what they start too.
signal.signal(signal.SIGINT, signal.default_int_handler)
# Before torch is imported: on a small machine spinning threads cost more than they compute.
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["TOKENIZERS_PARALLELISM"] = "false"
for name in [name for name in os.environ if name.startswith("DSLM_")]:
    del os.environ[name]


@pytest.fixture(scope="session")
def live(tmp_path_factory: pytest.TempPathFactory) -> Iterator["LiveService"]:
    """The example domains behind `dslm serve`: one service with real vLLM for the whole run."""
    from tests.live import LiveService

    service = LiveService(tmp_path_factory.mktemp("live") / "store").start()
    try:
        yield service.ready()
    finally:
        code = service.stop()
    assert code == 0, service.log()


@pytest.fixture(scope="session")
def indexed(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A store with two small domains, and their folder: indexed once, and only read."""
    from tests.service.product import index, write_domains

    folder = tmp_path_factory.mktemp("product")
    domains = write_domains(folder / "domains")
    index(folder / "store", domains)
    return folder / "store", domains


@pytest.fixture(scope="session")
def shared_product(indexed: tuple[Path, Path]) -> Iterator["Product"]:
    """The service in this process over that store, before a fake engine."""
    from tests.service.product import running

    with running(*indexed) as product:
        yield product


@pytest.fixture
def product(shared_product: "Product") -> "Product":
    """The shared service, its engine well and with nothing remembered."""
    engine = shared_product.engine
    engine.asked.clear()
    engine.heard.clear()
    engine.says, engine.most_running = "", 0
    return shared_product
