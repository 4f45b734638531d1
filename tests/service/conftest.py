"""One indexed store for the run, and one service over it for the tests that change nothing."""

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.service.product import Product


@pytest.fixture(scope="session")
def indexed(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A store and the domains that were indexed into it; both are only read."""
    from tests.service import product

    folder = tmp_path_factory.mktemp("product")
    domains = product.write_domains(folder / "domains")
    product.index(folder / "store", domains)
    return folder / "store", domains


@pytest.fixture(scope="session")
def shared_product(indexed: tuple[Path, Path]) -> Iterator["Product"]:
    from tests.service.product import running

    with running(*indexed) as product:
        yield product


@pytest.fixture
def product(shared_product: "Product") -> "Product":
    """The shared service, its engine well and with nothing remembered."""
    engine = shared_product.engine
    engine.asked.clear()
    engine.paths.clear()
    engine.says, engine.most_running = "", 0
    return shared_product
