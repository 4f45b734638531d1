"""The swap benchmark counts every answer that fails while versions change, and puts them back."""

import asyncio
import json
from typing import Any

import httpx

from eval.bench import swap_load
from eval.bench.swap import SwapSettings
from eval.bench.swap_load import Heard, load_grid, under_load
from eval.client import Client

CHUNK = {
    "choices": [{"index": 0, "delta": {"content": "x"}, "finish_reason": "stop"}],
    "model": "support",
}
WHOLE = f"data: {json.dumps(CHUNK)}\n\ndata: [DONE]\n\n"


class Scripted:
    """A service whose answers are cut short right after a swap, once."""

    def __init__(self) -> None:
        self.adapter = "support-style@2"
        self.swaps: list[str] = []
        self.cut = False

    async def __call__(self, request: httpx.Request) -> httpx.Response:
        await asyncio.sleep(0.001)
        if request.method == "PUT":
            self.adapter = json.loads(request.content)["adapter"]
            self.swaps.append(self.adapter)
            self.cut = len(self.swaps) == 3
        elif request.method == "POST":
            text = WHOLE.partition("data: [DONE]")[0] if self.cut else WHOLE
            self.cut = False
            return httpx.Response(200, text=text)
        name, version = self.adapter.split("@")
        release: dict[str, Any] = {"adapter": {"name": name, "version": int(version)}}
        return httpx.Response(200, json={"release": release})


async def test_an_answer_that_breaks_during_a_swap_is_counted(monkeypatch: Any) -> None:
    monkeypatch.setattr(swap_load, "PAUSE", 0.01)
    service = Scripted()
    async with Client("http://service", transport=httpx.MockTransport(service)) as client:
        quiet, swapped = await under_load(client, SwapSettings())
    assert (quiet.failed, swapped.failed) == (0, 1)
    assert len(quiet.millis) > 50 < len(swapped.millis)
    assert len(service.swaps) == swap_load.SLICES * swap_load.SWAPS + 1
    assert service.adapter == "support-style@2"


def test_failures_and_times_stand_in_the_table() -> None:
    table = load_grid(Heard([1.0, 2.0, 3.0]), Heard([4.0], failed=2))
    assert table.rows[0][1:] == ("1", "2", "4.0", "4.0")
    assert table.rows[1][1:4] == ("3", "0", "2.0")
