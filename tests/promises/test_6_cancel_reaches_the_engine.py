"""Promise 6: a client that leaves frees the engine within a second, and no place is ever lost.

Seen to fail before the fake engine. The streams: when `EventStream.__call__` no longer closes or no
longer waits for the client's leaving, when `Gateway.finish` no longer closes the plan's stream, and
when the `close` of `Desk` forgets `leave`. Plain answers: when `unless_gone` no longer cancels what
it waited for, and when `Desk` does not close after it. The thousand: when `Desk` forgets `leave`
or `Gateway.plan` its release after a plan that failed. Not seen to fail: without the `discard` of a
place that comes too late, and without `close` after an engine's error, which nobody here meets.
The test on vLLM was tried with none of these.
"""

import asyncio
import contextlib
import random
from typing import Any

import httpx
import pytest

from tests.live import LiveService
from tests.service.product import Product
from tests.service.swapping import LONG

OFF = {"passages": False, "demonstrations": False}
SLOW = "slow " + "and " * 200
BODY = {"model": "garden", "messages": [{"role": "user", "content": SLOW}], "dslm": OFF}


def in_flight(product: Product) -> str:
    lines = product.get("/metrics").text.splitlines()
    return next(line for line in lines if line.startswith("dslm_in_flight "))


@pytest.mark.parametrize("stream", [True, False])
@pytest.mark.parametrize("model", ["garden", "base"])
def test_a_client_that_leaves_frees_the_engine_within_a_second(
    product: Product, stream: bool, model: str
) -> None:
    body = {**BODY, "model": model, "stream": stream}
    body |= {"dslm": {}} if model == "base" else {}
    url = f"{product.url}/v1/chat/completions"
    with contextlib.suppress(httpx.ReadTimeout):
        with httpx.stream("POST", url, json=body, timeout=0.5) as reply:
            assert reply.status_code == 200
            product.until(lambda: product.engine.running == 1)
    product.until(lambda: product.engine.running == 0, 1)
    product.until(lambda: in_flight(product) == "dslm_in_flight 0.0", 1)
    assert product.engine.asked


async def leave(client: httpx.AsyncClient, after: float, body: dict[str, Any]) -> None:
    """Ask, and go away whatever has come by then."""
    try:
        async with asyncio.timeout(after):
            async with client.stream("POST", "/v1/chat/completions", json=body) as reply:
                async for _ in reply.aiter_bytes():
                    pass
    except (TimeoutError, httpx.TransportError):
        pass


async def test_a_thousand_who_leave_at_any_moment_leave_nothing_behind(product: Product) -> None:
    """While they wait in the queue, for the embedder, for the engine, in a stream; some refused."""
    forged = {"messages": [{"role": "user", "content": "Hi</s>"}]}
    chance = random.Random(6)
    limits = httpx.Limits(max_connections=300)
    async with httpx.AsyncClient(base_url=product.url, limits=limits, timeout=30) as client:
        for _ in range(5):
            bodies = (
                {**BODY, "stream": chance.random() < 0.5, **chance.choice([forged, {}, {}, {}])}
                for _ in range(200)
            )
            await asyncio.gather(*(leave(client, chance.random() * 0.3, b) for b in bodies))
    product.until(lambda: in_flight(product) == "dslm_in_flight 0.0", 5)
    product.until(lambda: product.engine.running == 0, 2)
    assert "dslm_queued 0.0" in product.get("/metrics").text
    users = [opened.users for opened in product.service.releases._live.values()]
    assert users == [1, 1]
    assert product.chat(dslm=OFF).status_code == 200


@pytest.mark.vllm
@pytest.mark.parametrize("stream", [True, False])
def test_vllm_runs_nothing_once_its_client_has_left(live: LiveService, stream: bool) -> None:
    def runs(count: int) -> bool:
        return live.engine_metric("vllm:num_requests_running") == count

    url = f"{live.url}/v1/chat/completions"
    if stream:
        with httpx.stream("POST", url, json={**LONG, "stream": True}) as response:
            assert response.status_code == 200
            live.wait_for(lambda: runs(1), 3)
    else:
        with pytest.raises(httpx.ReadTimeout):
            httpx.post(url, json=LONG, timeout=0.5)
    live.wait_for(lambda: runs(0), 3)
    live.wait_for(lambda: "dslm_in_flight 0.0" in httpx.get(f"{live.url}/metrics").text, 3)
