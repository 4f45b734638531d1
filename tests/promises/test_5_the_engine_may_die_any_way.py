"""Promise 5: the engine may die any way, and no client is left waiting or told a half as a whole.

Seen to fail when `Watch._is_stuck` is never asked (a core that hangs), and when `Desk._asked` no
longer asks again (a failure before the first byte; quoting while the engine is ill).
"""

import json
import signal
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest

from tests.live import LiveService
from tests.service.product import Product, running
from tests.service.swapping import LONG, read, registered, set_adapter

FLOUR = "How long does rye flour last?"
OFF = {"passages": False, "demonstrations": False}
SALARIES = "Who approves salaries above £95,000?"
SLOW = "slow " + "and " * 40
STALL = 0.6
ASKED = "How do I clean the machine?"


@pytest.fixture(scope="module")
def module_product(indexed: tuple[Path, Path]) -> Iterator[Product]:
    """A service of its own, soon out of patience with its engine."""
    with running(*indexed, engine_stall_seconds=STALL) as product:
        yield product
        product.engine.stuck = False


@pytest.fixture
def patient(module_product: Product) -> Product:
    """Its engine well again."""
    engine = module_product.engine
    engine.ill = engine.stuck = False
    engine.fails.clear()
    module_product.until(lambda: is_ready(module_product), 10)
    engine.asked.clear()
    return module_product


def is_ready(product: Product) -> bool:
    return product.get("/ready").status_code == 200


def events(text: str) -> list[str]:
    return [line for line in text.splitlines() if line.startswith("data: ")]


def is_whole(text: str) -> bool:
    """A stream that was answered in full: nothing in it is an error, and its end is said."""
    said = events(text)
    return said[-1] == "data: [DONE]" and not any('"error"' in one for one in said)


def is_cut(text: str) -> bool:
    """A stream whose end is an error, said as such."""
    said = events(text)
    assert "data: [DONE]" not in said, "a half was told as a whole"
    return "error" in json.loads(said[-1][6:])


def stream(url: str, body: dict[str, Any]) -> httpx.Response:
    return httpx.post(f"{url}/v1/chat/completions", json={**body, "stream": True}, timeout=60)


@pytest.mark.parametrize(
    ("way", "streamed"), [("500", False), ("500", True), ("cut", True), ("cut after role", True)]
)
def test_a_failure_before_the_first_byte_is_not_seen(
    patient: Product, way: str, streamed: bool
) -> None:
    patient.engine.fails[:] = [way]
    response = patient.chat(dslm=OFF, stream=streamed)
    assert response.status_code == 200
    assert not streamed or is_whole(response.text)
    assert len(patient.engine.asked) == 2


@pytest.mark.parametrize("streamed", [False, True])
def test_a_second_failure_is_told_and_nothing_is_asked_a_third_time(
    patient: Product, streamed: bool
) -> None:
    patient.engine.fails[:] = ["500", "500"]
    response = patient.chat(dslm=OFF, stream=streamed)
    assert response.status_code == 503
    assert response.json()["error"]["code"] == "engine_unavailable"
    assert int(response.headers["Retry-After"]) >= 1
    assert len(patient.engine.asked) == 2


def test_a_failure_after_the_first_byte_is_an_error_event_and_nothing_is_asked_again(
    patient: Product,
) -> None:
    patient.engine.fails[:] = ["late"]
    assert is_cut(patient.chat(dslm=OFF, stream=True).text)
    assert len(patient.engine.asked) == 1


def test_while_it_is_ill_one_domain_quotes_and_another_says_when_to_come_back(
    patient: Product,
) -> None:
    patient.engine.ill = True
    patient.engine.fails[:] = ["500"] * 9
    # At once, not at the next probe: the failure itself has the engine looked at.
    quoted = patient.chat("pantry", FLOUR)
    assert quoted.status_code == 200
    assert quoted.json()["dslm"]["mode"] == "quote"
    assert "nine months" in quoted.json()["choices"][0]["message"]["content"]
    refused = patient.chat()
    assert refused.status_code == 503
    assert int(refused.headers["Retry-After"]) >= 1
    assert patient.get("/ready").status_code == 503
    assert patient.get("/health").status_code == 200
    assert is_whole(patient.chat("pantry", FLOUR, stream=True).text)


def test_a_core_that_hangs_behind_a_well_server_is_noticed_by_its_tokens(patient: Product) -> None:
    patient.engine.stuck = True
    answers: dict[str, httpx.Response] = {}

    def ask(name: str, *arguments: str, **more: Any) -> threading.Thread:
        thread = threading.Thread(
            target=lambda: answers.update({name: patient.chat(*arguments, **more)})
        )
        thread.start()
        return thread

    began = time.monotonic()
    threads = [
        ask("plain", dslm=OFF),
        ask("streamed", dslm=OFF, stream=True),
        ask("quoted", "pantry", FLOUR),
    ]
    for thread in threads:
        thread.join(20)
    assert time.monotonic() - began < 10
    assert answers["plain"].status_code == answers["streamed"].status_code == 503
    assert answers["plain"].headers["Retry-After"]
    assert answers["quoted"].json()["dslm"]["mode"] == "quote"
    assert not is_ready(patient)
    time.sleep(1.5)
    assert not is_ready(patient), "ready although it makes no token"
    patient.engine.stuck = False
    patient.until(lambda: is_ready(patient), 10)


def test_a_slow_answer_is_not_taken_for_a_hanging_engine(patient: Product) -> None:
    """No byte of a whole answer comes before its end; the engine's own counts say that it moves."""
    patient.engine.pause = 0.1
    answer = patient.chat(question=SLOW, dslm=OFF, stream=False)
    patient.engine.pause = 0.02
    assert answer.status_code == 200
    assert len(patient.engine.asked) == 1


def server_and_core(service: LiveService) -> tuple[psutil.Process, psutil.Process]:
    """vLLM's API server, and the process that computes."""
    found = service.engine_processes()
    core = next(one for one in found if any("EngineCore" in part for part in one.cmdline()))
    return found[0], core


def kill_server(service: LiveService) -> None:
    server_and_core(service)[0].send_signal(signal.SIGKILL)


def kill_core(service: LiveService) -> None:
    """As the kernel does for want of memory: vLLM's server lives on, then exits with 0."""
    server_and_core(service)[1].send_signal(signal.SIGKILL)


def stop_core(service: LiveService) -> None:
    """`/health` goes on saying 200."""
    server_and_core(service)[1].send_signal(signal.SIGSTOP)
    assert httpx.get(f"{service.engine_url}/health").status_code == 200


def survives(service: LiveService, end: Callable[[LiveService], None]) -> None:
    """A domain without a fallback and with an adapter, and one that quotes."""
    set_adapter(service, "support-style@1")
    names = registered(service, "support-style")
    before = {one.pid for one in service.engine_processes()}
    cut = read(service, LONG, after=20, then=lambda: end(service))
    assert is_cut(cut)
    refused = service.chat("support", ASKED)
    assert refused.status_code == 503, service.log()
    assert int(refused.headers["Retry-After"]) >= 1
    quoted = service.chat("legal", SALARIES).json()
    assert quoted["dslm"]["mode"] == "quote"
    assert httpx.get(f"{service.url}/ready").status_code == 503
    service.wait_for(lambda: httpx.get(f"{service.url}/ready").status_code == 200, 240)
    # The first answer after it: its adapter is there.
    after = service.chat("support", ASKED, max_tokens=8, dslm=OFF)
    assert after.status_code == 200, service.log()
    assert after.json()["dslm"]["adapter"] == "support-style@1"
    assert registered(service, "support-style") == names
    assert not before & set(psutil.pids()), "a process of the dead engine lives on"


@pytest.mark.vllm
@pytest.mark.slow
def test_vllm_may_be_killed(live: LiveService) -> None:
    survives(live, kill_server)


@pytest.mark.vllm
@pytest.mark.slow
@pytest.mark.parametrize("end", [kill_core, stop_core], ids=lambda end: end.__name__)
def test_the_core_of_vllm_may_die_or_hang_alone(
    own: LiveService, end: Callable[[LiveService], None]
) -> None:
    survives(own, end)
