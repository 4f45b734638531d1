"""Swaps, cancelled answers and a killed engine, on real vLLM."""

import itertools
import json
import signal
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.live import LiveService

pytestmark = pytest.mark.vllm
LONG: dict[str, Any] = {
    "model": "support",
    "messages": [{"role": "user", "content": "How do I clean the machine?"}],
    "dslm": {"passages": False, "demonstrations": False},
    "max_tokens": 400,
    "ignore_eos": True,
    "temperature": 0,
    "seed": 1,
}
ANSWERED = "How long should I soak a new filter cartridge before fitting it?"


@pytest.fixture
def first_version(live: LiveService) -> Iterator[None]:
    """The domain answers with version 1 before the test and after it."""
    set_adapter(live, "support-style@1")
    yield
    set_adapter(live, "support-style@1")


def set_adapter(live: LiveService, reference: str | None) -> dict[str, Any]:
    response = httpx.put(
        f"{live.url}/v1/domains/support/adapter", json={"adapter": reference}, timeout=60
    )
    response.raise_for_status()
    release: dict[str, Any] = response.json()
    return release


def read(live: LiveService, body: dict[str, Any], after: int = 0, then: Any = None) -> str:
    """The stream's text, ids and dates apart; `then` is called after so many lines."""
    lines = []
    with httpx.stream(
        "POST", f"{live.url}/v1/chat/completions", json={**body, "stream": True}, timeout=120
    ) as response:
        for number, line in enumerate(response.iter_lines()):
            lines.append(line)
            if then and number == after:
                then()
    return "\n".join(lines)


def content(streamed: str) -> str:
    """The text of all chunks; where one ends vLLM decides by what else is running."""
    lines = [line[6:] for line in streamed.splitlines() if line.startswith("data: {")]
    choices = [choice for line in lines for choice in json.loads(line)["choices"]]
    return "".join(choice["delta"].get("content") or "" for choice in choices)


@pytest.mark.usefixtures("first_version")
def test_old_stream_keeps_its_adapter_across_a_swap(live: LiveService) -> None:
    undisturbed = read(live, LONG)
    during = read(live, LONG, after=30, then=lambda: set_adapter(live, "support-style@2"))
    assert content(during) == content(undisturbed)
    assert len(content(during)) > 100
    assert during.endswith("data: [DONE]\n")
    assert '"adapter":"support-style@1"' in during
    assert live.chat("support", ANSWERED).json()["dslm"]["adapter"] == "support-style@2"


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


def leave_a_stream(live: LiveService) -> None:
    body = {**LONG, "stream": True}
    with httpx.stream("POST", f"{live.url}/v1/chat/completions", json=body) as response:
        next(response.iter_lines())


def leave_before_the_answer(live: LiveService) -> None:
    with pytest.raises(httpx.ReadTimeout):
        httpx.post(f"{live.url}/v1/chat/completions", json=LONG, timeout=0.5)


@pytest.mark.parametrize("stream", [True, False])
def test_a_client_that_leaves_frees_the_engine(live: LiveService, stream: bool) -> None:
    leave = leave_a_stream if stream else leave_before_the_answer
    leave(live)
    live.wait_for(lambda: live.engine_metric("vllm:num_requests_running") == 0, 3)
    live.wait_for(lambda: "dslm_in_flight 0.0" in httpx.get(f"{live.url}/metrics").text, 3)


def test_a_job_indexes_in_a_child_and_tells_its_progress(live: LiveService) -> None:
    started = httpx.post(f"{live.url}/v1/domains/legal/index", timeout=30)
    assert started.status_code == 202
    job = f"{live.url}/v1/jobs/{started.json()['id']}"
    live.wait_for(lambda: httpx.get(job).json()["status"] != "running", 120)
    ended = httpx.get(job).json()
    assert ended["status"] == "succeeded", ended
    assert ended["result"]["documents"] > 20
    assert live.chat("legal", "Who approves salaries above £95,000?").status_code == 200


@pytest.mark.slow
def test_a_killed_engine_is_told_to_the_client_and_comes_back_with_its_adapters(
    live: LiveService,
) -> None:
    names = registered(live, "support-style")

    def kill() -> None:
        live.engine_processes()[0].send_signal(signal.SIGKILL)

    cut = read(live, LONG, after=20, then=kill)
    assert '"error"' in cut.splitlines()[-1]
    assert "[DONE]" not in cut
    live.wait_for(lambda: live.chat("support", ANSWERED).status_code == 503, 10)
    refused = live.chat("support", ANSWERED)
    assert int(refused.headers["Retry-After"]) >= 1
    quoted = live.chat("legal", "Who approves salaries above £95,000?").json()
    assert quoted["dslm"]["mode"] == "quote"
    live.wait_for(lambda: live.chat("support", ANSWERED).status_code == 200, 240)
    assert registered(live, "support-style") == names
    assert httpx.get(f"{live.url}/ready").status_code == 200


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


def registered(live: LiveService, prefix: str) -> list[str]:
    """Names below which the engine knows this adapter's versions, reload counts apart."""
    cards = httpx.get(f"{live.engine_url}/v1/models").json()["data"]
    return sorted({Path(c["id"]).name.split(".")[0] for c in cards if c["id"].startswith(prefix)})
