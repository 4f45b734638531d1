"""A canary: a share of the callers, each of whom stays with his release, and nobody else."""

import asyncio
import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from adapters.audit import Cause
from adapters.manifest import WEIGHTS_FILE
from adapters.registry import AdapterRegistry
from adapters.steering import drop_canary, set_canary
from adapters.traffic import Canary
from service.answer.affinity import affinity
from service.answer.completion import CompletionRequest
from service.answer.following import LOOK_SECONDS
from service.answer.request import ChatRequest
from tests.live import LiveService
from tests.service.product import Product, served
from tests.service.trying import (
    BARE,
    FIRST,
    SECOND,
    ask,
    call,
    check_noticed,
    done,
    metric,
    releases_of,
    reset,
    seconds_until,
    trying,
)

ME = Cause("another process")


@pytest.fixture(scope="module")
def shared(
    indexed: tuple[Path, Path], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Product]:
    with trying(indexed, tmp_path_factory.mktemp("canary")) as product:
        yield product


@pytest.fixture
def product(shared: Product) -> Product:
    reset(shared)
    shared.engine.asked.clear()
    shared.engine.calls.clear()
    shared.engine.pause = 0.02
    return shared


def begin(product: Product, share: float, number: int = 3) -> None:
    done(call(product, "PUT", "canary", {"release": number, "share": share}))


def traffic(product: Product) -> dict[str, Any]:
    found: dict[str, Any] = done(call(product, "GET", "traffic"))
    return found


def test_a_share_of_the_callers_falls_to_it_and_each_stays(product: Product) -> None:
    begin(product, 0.5)
    expected = Canary(release=3, share=0.5)
    seen: dict[str, int] = {}
    for turn in range(2):
        for number in range(12):
            user = f"user-{number}"
            told = ask(product, user)["dslm"]
            assert told["release"] == (3 if expected.takes("garden", f"user:{user}") else 2)
            assert told["adapter"] == {2: FIRST, 3: SECOND}[told["release"]]
            asked = product.engine.asked[-1]["model"]
            assert asked.startswith(f"support-style@{told['adapter_digest'][:12]}")
            assert seen.setdefault(user, told["release"]) == told["release"], turn
    assert set(seen.values()) == {2, 3}


def test_its_adapter_is_in_the_engine_before_anybody_is_sent_to_it(product: Product) -> None:
    digest = AdapterRegistry(releases_of(product).paths).get(SECOND).digest[:12]
    assert not any(digest in name for name in product.engine.adapters)
    begin(product, 0.5)
    assert any(digest in name for name in product.engine.adapters)


def test_a_conversation_stays_however_long_it_gets(product: Product) -> None:
    begin(product, 0.5)
    for first in ("When do I prune?", "Who waters?", "Which shears?", "Why dry?"):
        turns = [{"role": "user", "content": first}]
        releases = set()
        for _ in range(3):
            body = {"model": "garden", "messages": turns, "dslm": BARE}
            answer = done(product.post("/v1/chat/completions", body))
            releases.add(answer["dslm"]["release"])
            said = answer["choices"][0]["message"]["content"]
            turns += [{"role": "assistant", "content": said}, {"role": "user", "content": "And?"}]
        assert len(releases) == 1


def test_a_number_that_is_asked_for_answers_whoever_asks(product: Product) -> None:
    begin(product, 1.0)
    assert ask(product, "x")["dslm"]["release"] == 3
    for number in (1, 2, 3):
        told = done(product.chat(f"garden@{number}", user="x", dslm=BARE))["dslm"]
        assert told["release"] == number
    assert done(product.chat("pantry"))["dslm"]["release"] == 1


def test_whoever_does_not_say_who_asks_gets_the_live_release(product: Product) -> None:
    """Documents and embeddings are those of the live release."""
    begin(product, 1.0)
    releases = product.service.releases
    opened = asyncio.run(releases.acquire("garden"))
    releases.release(opened)
    assert opened.release.number == 2
    assert ask(product, "x")["dslm"]["release"] == 3
    done(call(product, "GET", "documents/roses.md"))
    done(product.post("/v1/embeddings", {"model": "garden", "input": "Roses"}))


@pytest.mark.parametrize("number", ["03", "+3", " 3", "3.0", "\uff13", "", "1e1"])
def test_a_release_has_one_name(product: Product, number: str) -> None:
    response = product.chat(f"garden@{number}", dslm=BARE)
    assert (response.status_code, response.json()["error"]["code"]) == (404, "model_not_found")


def test_completions_and_streams_fall_to_it_as_well(product: Product) -> None:
    begin(product, 1.0)
    body = {"model": "garden", "prompt": "Prune", "user": "x", "dslm": BARE}
    assert done(product.post("/v1/completions", body))["dslm"]["release"] == 3
    streamed = product.chat(user="x", dslm=BARE, stream=True).text
    assert '"release":3' in streamed


def test_promoting_it_lets_it_answer_everybody(product: Product) -> None:
    begin(product, 0.01)
    promoted = done(call(product, "POST", "canary/promote", {"why": "good"}))
    assert promoted["number"] == 3
    assert {ask(product, f"u{n}")["dslm"]["release"] for n in range(6)} == {3}
    assert traffic(product)["canary"] is None
    assert done(call(product, "GET", "audit"))["data"][-1]["action"] == "promote"
    assert done(call(product, "POST", "rollback"))["number"] == 2


def test_dropping_it_lets_its_answers_end_and_then_unloads_its_adapter(product: Product) -> None:
    begin(product, 1.0)
    fake = product.engine
    fake.pause = 0.1
    question = "Be slow and tell all about it please ."
    body = {"model": "garden", "user": "x", "stream": True, "dslm": BARE}
    body["messages"] = [{"role": "user", "content": question}]
    url = f"{product.url}/v1/chat/completions"
    with httpx.stream("POST", url, json=body, timeout=30) as stream:
        lines = stream.iter_lines()
        said = [next(lines)]
        held = {name for name in fake.adapters if name.startswith("support-style")}
        done(call(product, "DELETE", "canary?why=worse"))
        assert ask(product, "x")["dslm"]["release"] == 2
        assert set(fake.adapters) == held, "unloaded under a running answer"
        said += list(lines)
    assert said[-2] == "data: [DONE]"
    assert '"release":3' in "".join(said)
    product.until(lambda: len(fake.adapters) == 1)
    assert done(call(product, "GET", "audit"))["data"][-1]["why"] == "worse"


@pytest.mark.parametrize(
    ("method", "path", "body", "status"),
    [
        ("PUT", "canary", {"release": 2, "share": 0.5}, 400),
        ("PUT", "canary", {"release": 3, "share": 0}, 400),
        ("PUT", "canary", {"release": 3, "share": 1.5}, 400),
        ("PUT", "canary", {"release": 3}, 400),
        ("PUT", "canary", {"share": 0.5}, 400),
        ("DELETE", "canary", None, 400),
        ("POST", "canary/promote", None, 400),
    ],
)
def test_what_cannot_be_is_said_and_changes_nothing(
    product: Product, method: str, path: str, body: object, status: int
) -> None:
    response = call(product, method, path, body)
    assert response.status_code == status
    assert response.json()["error"]["type"] == "invalid_request_error"
    assert traffic(product)["canary"] is None
    assert ask(product, "x")["dslm"]["release"] == 2


@pytest.fixture
def damaged(product: Product) -> Iterator[Product]:
    """The adapter of release 3 has other bytes than when it was added."""
    manifest = AdapterRegistry(releases_of(product).paths).get(SECOND)
    file = releases_of(product).paths.adapter(manifest.digest) / WEIGHTS_FILE
    product.until(lambda: len(product.engine.adapters) == 1)
    content = file.read_bytes()
    file.chmod(0o644)
    file.write_bytes(content[:-64] + bytes(64))
    yield product
    file.write_bytes(content)


def test_a_canary_whose_adapter_is_refused_is_refused_with_the_reason(damaged: Product) -> None:
    response = call(damaged, "PUT", "canary", {"release": 3, "share": 1.0})
    assert response.status_code >= 400
    assert "support-style" in response.json()["error"]["message"]
    found = traffic(damaged)
    assert (found["live"], found["canary"]) == (2, None)
    assert ask(damaged, "x")["dslm"]["release"] == 2
    assert done(call(damaged, "GET", "audit"))["data"][-1]["action"] != "canary"


def test_a_canary_from_elsewhere_that_is_refused_here_gets_nothing_until_it_can(
    damaged: Product,
) -> None:
    set_canary(releases_of(damaged), "garden", Canary(release=3, share=1.0), ME)
    damaged.until(lambda: (traffic(damaged)["canary"] or {}).get("refusal"))
    assert "support-style" in str(traffic(damaged)["canary"]["refusal"])
    assert ask(damaged, "x")["dslm"]["release"] == 2
    assert metric(damaged, "dslm_canary_share", domain="garden") == 0


def test_what_another_process_begins_and_drops_counts_here_within_a_second(
    product: Product,
) -> None:
    store = releases_of(product)
    # What was refused a moment ago, in the same words, waits for its retry unless the service has
    # looked at the state without it.
    time.sleep(2 * LOOK_SECONDS)
    took = []
    for _ in range(2):
        set_canary(store, "garden", Canary(release=3, share=1.0), ME)
        took.append(seconds_until(product, lambda: ask(product, "x")["dslm"]["release"] == 3))
        drop_canary(store, "garden", ME)
        took.append(seconds_until(product, lambda: ask(product, "x")["dslm"]["release"] == 2))
    check_noticed(took)


def test_two_services_on_one_store_send_each_caller_to_the_same_release(product: Product) -> None:
    with served(product.service.settings, product.engine) as other:
        begin(product, 0.5)
        other.until(lambda: traffic(other)["canary"] is not None)
        other.until(lambda: metric(other, "dslm_canary_share", domain="garden") == 0.5)
        for number in range(10):
            here, there = (ask(one, f"user-{number}") for one in (product, other))
            assert here["dslm"]["release"] == there["dslm"]["release"]
        done(call(other, "POST", "canary/promote"))
        product.until(lambda: ask(product, "x")["dslm"]["release"] == 3)


def test_answers_are_counted_by_why_their_release_gave_them(product: Product) -> None:
    def counted(role: str) -> float:
        name = "dslm_release_requests_total"
        return metric(product, name, domain="garden", role=role, status="200")

    before = {role: counted(role) for role in ("live", "canary", "pinned")}
    ask(product, "x")
    begin(product, 1.0)
    ask(product, "x")
    ask(product, "x")
    done(product.chat("garden@3", dslm=BARE))
    after = {role: counted(role) - before[role] for role in before}
    assert after == {"live": 1, "canary": 2, "pinned": 1}
    assert metric(product, "dslm_canary_share", domain="garden") == 1
    assert metric(product, "dslm_release_seconds_count", domain="garden", role="canary") >= 2


def request(**more: object) -> ChatRequest:
    body = {"model": "garden", "messages": [{"role": "user", "content": "Hello"}], **more}
    return ChatRequest.model_validate_json(json.dumps(body))


def test_who_asks_is_the_first_of_what_a_request_carries() -> None:
    every = {
        "safety_identifier": "s",
        "user": "u",
        "metadata": {"conversation_id": "c", "thread_id": "t"},
        "prompt_cache_key": "p",
    }
    wanted = ["user:s", "user:u", "conversation:c", "conversation:p"]
    for name, expected in zip(list(every), wanted, strict=True):
        assert affinity(request(**every)) == expected
        del every[name]
    first = affinity(request())
    assert first == affinity(request(user="", metadata={"topic": "x"}))
    assert first != affinity(request(messages=[{"role": "user", "content": "Other"}]))
    system = [{"role": "system", "content": "x"}, {"role": "user", "content": "Hello"}]
    assert first == affinity(request(messages=system))
    bare = CompletionRequest(model="garden", prompt="Hello")
    assert affinity(bare) == affinity(CompletionRequest(model="garden", prompt="Hello"))
    assert affinity(CompletionRequest(model="garden", prompt=[1, 2], user="u")) == "user:u"


@pytest.mark.vllm
def test_on_vllm_each_caller_gets_what_his_version_says_alone(live: LiveService) -> None:
    question = "How long should I soak a new filter cartridge before fitting it?"
    domain = f"{live.url}/v1/domains/support"

    def said(model: str, user: str = "") -> tuple[int, str]:
        answer = live.chat(model, question, user=user, max_tokens=32).json()
        return answer["dslm"]["release"], answer["choices"][0]["message"]["content"]

    def change(method: str, path: str, body: object = None) -> int:
        response = httpx.request(method, f"{domain}/{path}", json=body, timeout=60)
        assert response.status_code in (200, 201), response.text
        return int(response.json().get("number") or 0)

    try:
        first = change("PUT", "adapter", {"adapter": FIRST})
        second = change("POST", "releases", {"adapter": SECOND})
        alone = dict(said(f"support@{number}") for number in (first, second))
        assert alone[first] != alone[second]
        change("PUT", "canary", {"release": second, "share": 0.5})
        canary = Canary(release=second, share=0.5)
        users = [f"user-{number}" for number in range(60)]
        theirs = [user for user in users if canary.takes("support", f"user:{user}")][:3]
        others = [user for user in users if not canary.takes("support", f"user:{user}")][:3]
        for one, other in zip(theirs, others, strict=True):
            assert said("support", one) == (second, alone[second])
            assert said("support", other) == (first, alone[first])
        assert change("POST", "canary/promote") == second
        assert said("support", "anybody") == (second, alone[second])
    finally:
        change("PUT", "adapter", {"adapter": FIRST})
