"""Swaps, and a job beside them, on real vLLM; what is promised stands in `tests/promises`."""

import itertools
import threading
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from tests.live import LiveService
from tests.service.swapping import registered, set_adapter

pytestmark = pytest.mark.vllm
ANSWERED = "How long should I soak a new filter cartridge before fitting it?"


@pytest.fixture
def first_version(live: LiveService) -> Iterator[None]:
    """The domain answers with version 1 before the test and after it."""
    set_adapter(live, "support-style@1")
    yield
    set_adapter(live, "support-style@1")


@pytest.mark.usefixtures("first_version")
def test_a_drained_adapter_is_unloaded_and_rollback_is_a_pointer(live: LiveService) -> None:
    before = live.chat("support", ANSWERED).json()
    set_adapter(live, "support-style@2")
    live.wait_for(lambda: len(registered(live, "support-style")) == 1, 10)
    back = httpx.post(f"{live.url}/v1/domains/support/rollback", timeout=60).json()
    again = live.chat("support", ANSWERED).json()
    assert again["dslm"]["release"] == back["number"] == before["dslm"]["release"]
    assert again["choices"][0]["message"] == before["choices"][0]["message"]


def test_a_swap_to_an_unknown_adapter_changes_nothing(live: LiveService) -> None:
    before = httpx.get(f"{live.url}/v1/domains/support").json()
    response = httpx.put(f"{live.url}/v1/domains/support/adapter", json={"adapter": "nobody@7"})
    assert response.status_code == 404
    assert "nobody" in response.json()["error"]["message"]
    assert httpx.get(f"{live.url}/v1/domains/support").json() == before


def test_a_job_indexes_in_a_child_and_tells_its_progress(live: LiveService) -> None:
    started = httpx.post(f"{live.url}/v1/domains/legal/index", timeout=30)
    assert started.status_code == 202
    job = f"{live.url}/v1/jobs/{started.json()['id']}"
    live.wait_for(lambda: httpx.get(job).json()["status"] != "running", 120)
    ended = httpx.get(job).json()
    assert ended["status"] == "succeeded", ended
    assert ended["result"]["documents"] > 20
    assert live.chat("legal", "Who approves salaries above £95,000?").status_code == 200


def test_answers_during_a_dozen_swaps_are_never_mixed_nor_lost(live: LiveService) -> None:
    """Each answer is word for word what its own version says when nothing is swapped."""
    wanted = {}
    for version in ("support-style@1", "support-style@2"):
        set_adapter(live, version)
        wanted[version] = live.chat("support", ANSWERED).json()["choices"][0]["message"]["content"]
    assert wanted["support-style@1"] != wanted["support-style@2"]
    answers: list[dict[str, Any]] = []
    done = threading.Event()

    def client() -> None:
        while not done.is_set():
            answers.append(live.chat("support", ANSWERED).json())

    clients = [threading.Thread(target=client) for _ in range(4)]
    for thread in clients:
        thread.start()
    for turn in itertools.count():
        set_adapter(live, f"support-style@{turn % 2 + 1}")
        if turn >= 12 and len(answers) >= 24:
            break
    done.set()
    for thread in clients:
        thread.join()
    set_adapter(live, "support-style@1")
    for answer in answers:
        said = answer["choices"][0]["message"]["content"]
        assert said == wanted[answer["dslm"]["adapter"]]
