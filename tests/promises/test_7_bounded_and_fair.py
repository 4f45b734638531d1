"""Promise 7: bounded and fair. One domain's overload is not another's.

Seen to fail in the scripted engine when `limits_of` gives a domain all places (overload, cold
adapter), when `Admission._next` takes who has waited longest, whatever domain it is of (several
floods), and when `_head` does not look at keys.
"""

import re
import threading
from collections import Counter
from collections.abc import Callable
from contextlib import ExitStack
from typing import Any

import httpx
import pytest

from service.api.places import limits_of
from service.settings import ServiceSettings
from tests.live import LiveService
from tests.service.simulation import Simulation, p99
from tests.service.voices import register_voices

OFF = {"passages": False, "demonstrations": False}
HALF_AS_MUCH = 1.5
ADAPTERS = {"support": "support-style@1", "clinic": "clinic-triage@1", "legal": "voice@1"}


async def waits(flood: Callable[[Simulation], None], quiet: str = "quiet", key: str = "") -> float:
    """What `quiet`, which asks twice a second, takes at the p99 beside a flood."""
    limits = limits_of(ServiceSettings(max_concurrent=16))
    case = Simulation(answers=limits.answers, per_domain=limits.per_domain, queued=limits.queued)
    flood(case)
    for number in range(400):
        case.at(0.25 + number / 2, lambda: case.ask(quiet, key=key))
    await case.run(until=220)
    assert len(case.took[quiet + key]) >= 399
    return p99(case.took[quiet + key])


def floods(count: int, domain: str = "loud", **more: Any) -> Callable[[Simulation], None]:
    """So many clients of a domain, each of which asks again as soon as it is answered."""

    def begin(case: Simulation) -> None:
        for number in range(count):
            case.at(number / count, lambda: case.ask(domain, again=True, **more))

    return begin


@pytest.mark.parametrize("clients", [76, 1000])
async def test_an_overload_does_not_raise_anothers_p99_beyond_half_as_much(clients: int) -> None:
    assert await waits(floods(clients)) <= HALF_AS_MUCH * await waits(floods(0))


async def test_nor_does_an_adapter_that_takes_ten_times_as_long() -> None:
    """Cold: each answer waits for its weights, and keeps its place meanwhile."""
    cold = floods(76, adapter="cold", lasts=10.0)
    assert await waits(cold) <= HALF_AS_MUCH * await waits(floods(0))


async def test_where_several_flood_all_places_another_waits_for_one_ending_at_most() -> None:
    def both(case: Simulation) -> None:
        floods(60)(case)
        floods(60, domain="louder")(case)

    assert await waits(both) <= 2.0


async def test_a_key_that_floods_its_domain_lets_another_wait_for_one_ending_at_most() -> None:
    """Its own answer takes a second, and somebody's ending comes within another."""
    assert await waits(floods(60, key="greedy"), "loud", "modest") <= 2.0


def steps(service: LiveService) -> float:
    """How many steps vLLM has taken: a time that a busy machine does not stretch."""
    return service.engine_metric("vllm:iteration_tokens_total_count")


class Flood:
    """Clients that ask a domain for long answers until the end of the block."""

    def __init__(self, service: LiveService, domain: str, clients: int, tokens: int) -> None:
        self.url = f"{service.url}/v1/chat/completions"
        self.body = {**asked(domain, tokens), "stream": True}
        self.over = threading.Event()
        self.statuses: Counter[int] = Counter()
        self.patience: list[str | None] = []
        self.threads = [threading.Thread(target=self._ask) for _ in range(clients)]

    def __enter__(self) -> "Flood":
        for thread in self.threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.over.set()
        for thread in self.threads:
            thread.join()

    def _ask(self) -> None:
        with httpx.Client(timeout=120) as client:
            while not self.over.is_set():
                with client.stream("POST", self.url, json=self.body) as response:
                    self._read(response)

    def _read(self, response: httpx.Response) -> None:
        """To its end, unless all is over before."""
        for _ in response.iter_lines():
            if self.over.is_set():
                return
        self.statuses[response.status_code] += 1
        if response.status_code != 200:
            self.patience.append(response.headers.get("Retry-After"))
            self.over.wait(0.2)


def asked(domain: str, tokens: int) -> dict[str, Any]:
    return {
        "model": domain,
        "messages": [{"role": "user", "content": "Tell me all about it."}],
        "dslm": {**OFF, "mode": "generate"},
        "max_tokens": tokens,
        "ignore_eos": True,
    }


def set_adapter(service: LiveService, domain: str, reference: str | None) -> None:
    url = f"{service.url}/v1/domains/{domain}/adapter"
    httpx.put(url, json={"adapter": reference}, timeout=60).raise_for_status()


def quiet_steps(service: LiveService, meanwhile: Callable[[int], None]) -> list[float]:
    """Engine steps from each question of `legal` to the end of its answer of 100 tokens."""
    took = []
    for turn in range(7):
        meanwhile(turn)
        before = steps(service)
        response = httpx.post(
            f"{service.url}/v1/chat/completions", json=asked("legal", 100), timeout=120
        )
        assert response.status_code == 200, response.text
        took.append(steps(service) - before)
    return sorted(took)


@pytest.mark.vllm
@pytest.mark.slow
def test_on_vllm_neither_overload_nor_cold_adapters_of_another_domain_are_waited_for(
    own: LiveService,
) -> None:
    def swap(turn: int) -> None:
        set_adapter(own, "support", f"support-style@{turn % 2 + 1}")

    set_adapter(own, "legal", None)
    swap(0)
    alone = quiet_steps(own, lambda _: None)
    with Flood(own, "support", clients=12, tokens=800) as flood:
        own.wait_for(lambda: flood.statuses[429] > 0, 60)
        beside = quiet_steps(own, swap)
        assert own.engine_metric("vllm:num_requests_running") <= 4
    print(f"steps alone {alone}, beside a flood and cold adapters {beside}")  # noqa: T201
    assert beside[len(beside) // 2] <= HALF_AS_MUCH * alone[len(alone) // 2]
    assert set(flood.statuses) <= {200, 429}
    assert all(int(seconds or 0) >= 1 for seconds in flood.patience)


@pytest.mark.vllm
@pytest.mark.slow
def test_vllm_never_has_more_adapters_at_work_or_waiting_than_it_batches(own: LiveService) -> None:
    """It batches two; three domains ask with an adapter each, and all are answered."""
    register_voices(own.store)
    for domain, adapter in ADAPTERS.items():
        set_adapter(own, domain, adapter)
    with ExitStack() as stack:
        loads = [stack.enter_context(Flood(own, domain, 2, 40)) for domain in ADAPTERS]
        own.wait_for(lambda: min(load.statuses[200] for load in loads) >= 4, 60)
    set_adapter(own, "legal", None)
    text = httpx.get(f"{own.engine_url}/metrics").text
    seen = re.findall(
        r'lora_requests_info{.*running_lora_adapters="(.*?)",waiting_lora_adapters="(.*?)"', text
    )
    assert seen
    for running, waiting in seen:
        assert len(set(running.split(",") + waiting.split(",")) - {""}) <= 2
