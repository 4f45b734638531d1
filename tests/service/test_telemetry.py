"""What is counted is right, and no client can make the service count under names of its own."""

import random
import string
from itertools import pairwise

import pytest
from prometheus_client import generate_latest
from prometheus_client.parser import text_string_to_metric_families

from service.phases import Clock, Phase, phase
from service.telemetry import Answered, Telemetry
from tests.service.product import Product


def values(text: str) -> dict[tuple[str, ...], float]:
    """Value of each series by its name and labels."""
    return {
        (sample.name, *map(str, sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
        if not sample.name.endswith("_created")
    }


def told(telemetry: Telemetry, name: str, **labels: str) -> float:
    found = telemetry.registry.get_sample_value(name, labels)
    assert found is not None
    return found


def an_answer(**usage: object) -> Answered:
    clock = Clock()
    clock.began, clock.first = 10.0, 12.0
    clock.phases.append(Phase("retrieval", 10.5, 10.75))
    return Answered("legal", "generate", 200, clock, 15.0, usage)


def test_times_of_a_streamed_answer_are_told_as_vllm_and_opentelemetry_define_them() -> None:
    telemetry, name = Telemetry(), "gen_ai_server"
    details = {"cached_tokens": 48}
    telemetry.of_domain("legal").answered(
        an_answer(prompt_tokens=64, completion_tokens=7, prompt_tokens_details=details)
    )
    model = {"gen_ai_request_model": "legal"}
    assert told(telemetry, f"{name}_request_duration_seconds_sum", **model) == 5.0
    assert told(telemetry, f"{name}_time_to_first_token_seconds_sum", **model) == 2.0
    assert told(telemetry, f"{name}_time_per_output_token_seconds_sum", **model) == 0.5
    assert told(telemetry, "dslm_phase_seconds_sum", domain="legal", phase="retrieval") == 0.25
    assert told(telemetry, "dslm_generation_tokens_total", domain="legal") == 7
    assert told(telemetry, "dslm_prompt_tokens_total", domain="legal") == 64
    assert told(telemetry, "dslm_prompt_tokens_cached_total", domain="legal") == 48


@pytest.mark.parametrize("usage", [{}, {"completion_tokens": 1}, {"completion_tokens": None}])
def test_one_token_or_an_unknown_number_has_no_time_per_token(usage: dict[str, object]) -> None:
    telemetry = Telemetry()
    telemetry.of_domain("legal").answered(an_answer(**usage))
    count = "gen_ai_server_time_per_output_token_seconds_count"
    assert told(telemetry, count, gen_ai_request_model="legal") == 0


def test_a_phase_outside_of_any_request_is_noted_nowhere() -> None:
    with phase("compose"):
        pass
    clock = Clock()
    assert clock.phases == []


async def test_phases_of_a_request_are_noted_in_their_order() -> None:
    clock = Clock()
    clock.start()
    for name in ("admission", "retrieval"):
        with phase(name):
            pass
    assert [one.name for one in clock.phases] == ["admission", "retrieval"]
    assert all(a.ended <= b.began for a, b in pairwise(clock.phases))


def test_a_hostile_client_cannot_create_series(product: Product) -> None:
    def ask(name: str) -> None:
        body = {"model": name, "messages": [{"role": "user", "content": name}]}
        headers = {"x-request-id": name.strip("@") or "x", "user-agent": name.strip("@")}
        product.post("/v1/chat/completions", body, **headers)
        product.post("/v1/completions", {"model": name, "prompt": name})
        product.post("/v1/embeddings", {"model": name, "input": name})
        product.get(f"/v1/domains/{name}/releases")

    ask("first")
    ask("garden@99")
    ask("base@99")
    before = values(generate_latest(product.service.telemetry.registry).decode())
    draw = random.Random(7)
    for _ in range(10):
        ask("".join(draw.choices(string.ascii_letters + string.digits, k=12)))
        ask(f"garden@{draw.randrange(10**6)}")
        ask(f"base@{draw.randrange(10**6)}")
    after = values(generate_latest(product.service.telemetry.registry).decode())
    assert set(after) == set(before)
    unknown = [key for key in after if key[0] == "dslm_requests_total" and "unknown" in str(key)]
    assert sum(after[key] - before[key] for key in unknown) >= 20


def test_answers_are_counted_with_their_phases_and_give_their_leases_back(product: Product) -> None:
    telemetry = product.service.telemetry
    assert product.chat(stream=True).status_code == 200
    name, labels = "dslm_phase_seconds_count", {"domain": "garden"}
    for one in ("admission", "retrieval", "compose", "engine"):
        labels["phase"] = one
        product.until(lambda: telemetry.registry.get_sample_value(name, labels))
    assert told(telemetry, "dslm_leases", domain="garden") == 0
    product.get("/metrics")
    assert told(telemetry, "dslm_release", domain="garden") == 1


def test_a_question_asked_again_is_not_embedded_again(product: Product) -> None:
    telemetry, question = product.service.telemetry, "When are the shears sharpened?"
    product.chat(question=question)
    before = told(telemetry, "dslm_cache_hits_total", cache="questions")
    batches = told(telemetry, "dslm_question_batch_size_count")
    product.chat(question=question)
    assert told(telemetry, "dslm_cache_hits_total", cache="questions") == before + 1
    assert told(telemetry, "dslm_question_batch_size_count") == batches
