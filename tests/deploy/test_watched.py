"""What orchestrators and alerts need of the service: keys from a mounted file, and its counts."""

from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from service.keys import ALL, KeyFile, new_key
from tests.service.product import Product, running
from tests.service.trying import call, copied, done


@pytest.fixture(scope="module")
def secret(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where an orchestrator mounts the file of the keys."""
    return tmp_path_factory.mktemp("secret") / "keys.json"


@pytest.fixture(scope="module")
def product(
    indexed: tuple[Path, Path], secret: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Product]:
    store, domains = copied(indexed, tmp_path_factory.mktemp("watched"))
    key, text = new_key("ops", chat=(ALL,), admin=(ALL,))
    KeyFile(store, secret).add(key)
    with running(store, domains, keys=secret) as product:
        product.headers["Authorization"] = f"Bearer {text}"
        yield product


def counted(product: Product, metric: str) -> float:
    lines = product.get("/metrics").text.splitlines()
    return sum(float(line.split()[-1]) for line in lines if line.startswith(metric))


def test_keys_are_read_from_the_file_that_the_setting_names(product: Product, secret: Path) -> None:
    store = product.service.settings.store
    assert not (store / "keys.json").exists()
    assert done(product.get("/v1/models"))["data"]
    assert httpx.get(f"{product.url}/v1/models").status_code == 401


def test_a_release_that_cannot_go_live_is_counted_as_refused(product: Product) -> None:
    before = counted(product, "dslm_swaps_refused_total{")
    assert call(product, "PUT", "adapter", {"adapter": "nobody@9"}).status_code == 404
    assert counted(product, "dslm_swaps_refused_total{") == before + 1
    assert call(product, "POST", "releases/999/activate", {}).status_code == 404
    assert counted(product, "dslm_swaps_refused_total{") == before + 2


def test_the_room_on_the_disk_of_the_store_is_told(product: Product) -> None:
    free, size = (counted(product, f"dslm_store_{name}_bytes") for name in ("free", "size"))
    assert 0 < free < size
