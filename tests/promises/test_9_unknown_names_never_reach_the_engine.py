"""Promise 9: unknown, malformed or forbidden names never reach the engine, nor do its endpoints.

Seen to fail before the fake engine when `Gateway.adapter_of` no longer asks whether there is such a
domain and `Gateway.plan` has the engine asked for a name that is none, when a route passes any path
on to the engine, when `engine_command` no longer checks `DSLM_ENGINE_ARGUMENTS`, and when it says
`--host 0.0.0.0`. Two look at a name: without the look in `adapter_of` alone nothing fails, since
`Releases.acquire` looks as well; nor without that of `Releases._find` at how a number is written.
The test on vLLM was tried with none of these.
"""

import socket
from typing import Any
from urllib.parse import urlsplit

import httpx
import psutil
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from indexer.errors import BadInput
from service.engines.command import Child, engine_command
from service.engines.entries import read_entries
from service.settings import ServiceSettings
from tests.live import LiveService
from tests.service.product import QUESTION, Product

NAMES = [
    "",
    " ",
    "nobody",
    "Garden",
    "garden ",
    " garden",
    "garden@",
    "garden@999",
    "garden@-1",
    "garden@1@1",
    "garden@1.0",
    "garden@one",
    "base@1",
    "base ",
    "support-style@1",
    "../garden",
    "../../etc/passwd",
    "/etc/passwd",
    "garden/../base",
    "garden\x00",
    "garden\n",
    "http://127.0.0.1/",
    "🌹",
    "a" * 257,
    "a" * 100_000,
]
MESSAGES = [{"role": "user", "content": QUESTION}]


def refused(product: Product, name: object) -> None:
    """By every endpoint that takes a name, before the engine hears anything."""
    bodies: dict[str, dict[str, Any]] = {
        "/v1/chat/completions": {"messages": MESSAGES},
        "/v1/completions": {"prompt": "x", "dslm": {"passages": False, "demonstrations": False}},
        "/v1/embeddings": {"input": "x"},
    }
    for path, body in bodies.items():
        for more in ({}, {} if "input" in body else {"stream": True}):
            response = product.post(path, {"model": name, **body, **more})
            assert response.status_code in (400, 404), (path, response.text)
            assert response.json()["error"]["param"] == "model"
    assert product.engine.heard == []


@pytest.mark.parametrize("name", NAMES, ids=[ascii(name)[:20] for name in NAMES])
def test_a_name_that_is_none_stays_here(product: Product, name: str) -> None:
    refused(product, name)


@pytest.mark.parametrize("name", [None, 5, [], {}, True, ["garden"]])
def test_what_is_no_name_at_all_stays_here(product: Product, name: object) -> None:
    refused(product, name)


@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(st.text(st.characters(codec="utf-8"), max_size=40))
def test_any_text_that_names_nothing_stays_here(product: Product, name: str) -> None:
    if name not in ("base", "garden", "pantry", "garden@1", "pantry@1"):
        response = product.chat(name)
        assert response.status_code in (400, 404)
        assert product.engine.heard == []


# What vLLM serves besides; with keys for its port or none.
FORBIDDEN = [
    "/v1/load_lora_adapter",
    "/v1/unload_lora_adapter",
    "/invocations",
    "/pause",
    "/resume",
    "/sleep",
    "/wake_up",
    "/is_sleeping",
    "/tokenize",
    "/detokenize",
    "/score",
    "/v1/score",
    "/rerank",
    "/v1/rerank",
    "/pooling",
    "/classify",
    "/v1/responses",
    "/v1/messages",
    "/v1/audio/transcriptions",
    "/collective_rpc",
    "/reset_prefix_cache",
    "/reset_mm_cache",
    "/server_info",
    "/scale_elastic_ep",
    "/abort_requests",
    "/load",
    "/version",
    "/ping",
    "/v1/chat/completions/render",
    "/v1/chat/completions/batch",
    "/v1//load_lora_adapter",
    "//v1/load_lora_adapter",
    "/v1/models/../load_lora_adapter",
    "/v1/models/%2e%2e/load_lora_adapter",
    "/v1/domains/garden/../../load_lora_adapter",
]


@pytest.mark.parametrize("path", FORBIDDEN)
def test_the_engines_own_endpoints_are_not_the_services(product: Product, path: str) -> None:
    address = (urlsplit(product.url).hostname, urlsplit(product.url).port)
    for method in ("GET", "POST", "PUT", "DELETE"):
        with socket.create_connection(address, 5) as raw:  # a client library would tidy the path
            body = b'{"lora_name": "x", "lora_path": "/x"}'
            head = f"{method} {path} HTTP/1.1\r\nhost: 127.0.0.1\r\nconnection: close\r\n"
            raw.sendall(f"{head}content-length: {len(body)}\r\n\r\n".encode() + body)
            status = raw.makefile("rb").readline()
        assert status.split()[1] in (b"404", b"405"), (method, path, status)
    assert product.engine.heard == []


def test_the_engine_is_told_to_listen_on_loopback_and_nothing_can_tell_it_otherwise() -> None:
    settings = ServiceSettings()
    command = engine_command(settings, Child(read_entries(settings)["base"], 1))
    assert command[command.index("--host") + 1] == "127.0.0.1"
    for argument in ("--host 0.0.0.0", "--host=0.0.0.0", "--port 1", "--served-model-name x"):
        told = ServiceSettings(engine_arguments=argument)
        child = Child(read_entries(told)["base"], 1)
        with pytest.raises(BadInput, match="DSLM_ENGINE_ARGUMENTS"):
            engine_command(told, child)


@pytest.mark.vllm
def test_vllm_hears_of_no_name_that_is_none_and_listens_on_loopback(live: LiveService) -> None:
    def asked() -> float:
        metrics = httpx.get(f"{live.engine_url}/metrics").text.splitlines()
        counts = [line for line in metrics if line.startswith("http_requests_total{")]
        about = [c for c in counts if "completions" in c or "lora" in c or "embeddings" in c]
        return sum(float(line.rsplit(" ", 1)[1]) for line in about)

    before = asked()
    for name in NAMES[:24]:
        assert live.chat(name, QUESTION).status_code in (400, 404)
    for path in FORBIDDEN[:30]:
        assert httpx.post(f"{live.url}{path}", json={}).status_code in (404, 405)
    assert asked() == before
    live.chat("base", "Hello", max_tokens=1)
    assert asked() == before + 1
    listening = {
        found.laddr.ip
        for process in live.engine_processes()
        for found in process.net_connections("tcp")
        if found.status == psutil.CONN_LISTEN and found.laddr.port == live.engine_port
    }
    assert listening == {"127.0.0.1"}
