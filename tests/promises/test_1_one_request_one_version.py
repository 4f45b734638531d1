"""Promise 1: one request, one version. A stream that began before a swap never feels it.

Before the fake engine both tests fail when `Releases._replace` closes the old release twice: its
adapter is then unloaded under the stream. That names are never used twice is shown by
`test_switch.py`, which fails in three places when `AdapterSwitch` loads below the bare label.
"""

import asyncio
import shutil
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from adapters.base import BaseProfile
from service.settings import ServiceSettings
from service.shipped import register_adapters
from tests.live import LiveService
from tests.service.product import Product, running
from tests.service.swapping import LONG, content, read, set_adapter

SLOW = {
    "model": "garden",
    "messages": [{"role": "user", "content": "When do I prune roses? Be slow and tell all ."}],
    "stream": True,
}


@pytest.fixture
def swapping(indexed: tuple[Path, Path], tmp_path: Path) -> Iterator[Product]:
    """A service of its own over a copy of the store, with two versions of an adapter to choose."""
    store = tmp_path / "store"
    shutil.copytree(indexed[0], store)
    settings = ServiceSettings(store=store, domains=indexed[1])
    register_adapters(settings, [BaseProfile.read(settings.base)], print)
    with running(store, indexed[1]) as product:
        yield product


def swap(product: Product, reference: str) -> None:
    url = f"{product.url}/v1/domains/garden/adapter"
    response = httpx.put(url, json={"adapter": reference}, timeout=30)
    assert response.status_code == 200, response.text


def test_a_stream_keeps_its_version_and_the_engine_keeps_that_until_it_has_ended(
    swapping: Product,
) -> None:
    fake = swapping.engine
    fake.pause = 0.05
    swap(swapping, "support-style@1")
    (first,) = fake.adapters
    url = f"{swapping.url}/v1/chat/completions"
    body = {**SLOW, "dslm": {"passages": False, "demonstrations": False}}
    with httpx.stream("POST", url, json=body, timeout=30) as stream:
        lines = stream.iter_lines()
        said = [next(lines)]
        swap(swapping, "support-style@2")
        assert first in fake.adapters, "unloaded under a running answer"
        assert fake.running == 1
        said += list(lines)
    asked = [one["model"] for one in fake.asked]
    assert asked == [first]
    text = "".join(said)
    assert "support-style@1" in text
    assert said[-2] == "data: [DONE]"
    swapping.until(lambda: first not in fake.adapters)
    (second,) = fake.adapters
    assert second != first
    after = swapping.chat().json()
    assert after["dslm"]["adapter"] == "support-style@2"
    assert fake.asked[-1]["model"] == second


async def test_many_requests_across_swaps_each_name_the_version_that_wrote_them(
    swapping: Product,
) -> None:
    """The fake begins every answer with the name of the adapter that it was asked for."""
    names = {}
    for version in ("support-style@1", "support-style@2"):
        await asyncio.to_thread(swap, swapping, version)
        names[version] = swapping.chat(max_tokens=64).json()["dslm"]["adapter_digest"][:12]
    done = asyncio.Event()

    async def ask() -> int:
        count = 0
        async with httpx.AsyncClient(base_url=swapping.url, timeout=30) as client:
            while not done.is_set():
                answer = (await client.post("/v1/chat/completions", json=plain)).json()
                written_by = answer["choices"][0]["message"]["content"]
                assert names[answer["dslm"]["adapter"]] in written_by
                count += 1
        return count

    plain = {**SLOW, "stream": False, "messages": [{"role": "user", "content": "Prune roses?"}]}
    clients = [asyncio.create_task(ask()) for _ in range(8)]
    for turn in range(12):
        await asyncio.to_thread(swap, swapping, f"support-style@{turn % 2 + 1}")
    done.set()
    assert sum(await asyncio.gather(*clients)) > 12


@pytest.mark.vllm
def test_a_greedy_stream_on_vllm_is_the_same_as_an_undisturbed_one(live: LiveService) -> None:
    set_adapter(live, "support-style@1")
    undisturbed = read(live, LONG)
    during = read(live, LONG, after=30, then=lambda: set_adapter(live, "support-style@2"))
    assert content(during) == content(undisturbed)
    assert len(content(during)) > 100
    assert during.endswith("data: [DONE]\n")
    assert '"adapter":"support-style@1"' in during
    question = "How long should I soak a new filter cartridge before fitting it?"
    assert live.chat("support", question).json()["dslm"]["adapter"] == "support-style@2"
    set_adapter(live, "support-style@1")
