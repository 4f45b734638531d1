"""The edge: heads and bodies have bounds, every response is safe, browsers are kept out."""

import contextlib
import socket
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx
import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.routing import Route

from service.api import events, protocol, wire
from service.api.protocol import LARGEST_HEAD, MOST_HEADERS, BoundedProtocol
from tests.service.fake_engine import serving
from tests.service.product import Product, running


async def echo(request: Request) -> PlainTextResponse:
    return PlainTextResponse(str(len(await request.body())))


@pytest.fixture(scope="module")
def echoing() -> Iterator[str]:
    app = Starlette(routes=[Route("/", echo, methods=["GET", "POST"])])
    with serving(app, http=BoundedProtocol) as url:
        yield url


def talk(url: str, *sent: bytes, pause: float = 0.0) -> bytes:
    """What comes back until the server closes or has nothing more to say."""
    with socket.create_connection((urlsplit(url).hostname, urlsplit(url).port), 5) as connection:
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            for part in sent:
                connection.sendall(part)
                time.sleep(pause)
        connection.settimeout(1)
        received = b""
        with contextlib.suppress(TimeoutError, ConnectionResetError):
            while part := connection.recv(65536):
                received += part
        return received


HEAD = b"POST / HTTP/1.1\r\nhost: 127.0.0.1\r\n"


def test_a_header_that_never_ends_is_cut_off(echoing: str) -> None:
    parts = [b"GET / HTTP/1.1\r\nhost: 127.0.0.1\r\nx: ", *[b"a" * 8192] * 8]
    assert talk(echoing, *parts, pause=0.01).startswith(b"HTTP/1.1 431")


def test_a_head_in_one_piece_is_measured_as_well(echoing: str) -> None:
    large = b"x: " + b"a" * LARGEST_HEAD + b"\r\n"
    assert talk(echoing, HEAD + large + b"\r\n").startswith(b"HTTP/1.1 431")
    many = b"".join(b"x%d: a\r\n" % number for number in range(MOST_HEADERS + 1))
    assert talk(echoing, HEAD + many + b"\r\n").startswith(b"HTTP/1.1 431")
    long = b"GET /" + b"a" * LARGEST_HEAD + b" HTTP/1.1\r\nhost: 127.0.0.1\r\n\r\n"
    assert talk(echoing, long).startswith(b"HTTP/1.1 431")


def test_a_large_body_is_no_large_head_whatever_comes_together(echoing: str) -> None:
    body = b"b" * (3 * LARGEST_HEAD)
    one = HEAD + b"content-length: %d\r\n\r\n" % len(body) + body
    last = HEAD + b"connection: close\r\ncontent-length: %d\r\n\r\n" % len(body) + body
    whole = one + one + last
    cut = [whole[at : at + 40_000] for at in range(0, len(whole), 40_000)]
    for parts in ([whole], cut):
        received = talk(echoing, *parts, pause=0.01)
        assert received.count(b"HTTP/1.1 200") == 3
        assert received.count(b"%d" % len(body)) == 3


def test_a_head_that_does_not_end_in_time_is_cut_off(
    echoing: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(protocol, "HEAD_SECONDS", 0.2)
    slow = [b"GET / HTTP/1.1\r\n", *[b"x: a\r\n"] * 6]
    assert talk(echoing, *slow, pause=0.1).startswith(b"HTTP/1.1 408")
    assert talk(echoing).startswith(b"HTTP/1.1 408")
    again = b"GET / HTTP/1.1\r\nhost: 127.0.0.1\r\n\r\n"
    received = talk(echoing, again, b"GET / HT", pause=0.3)
    assert received.startswith(b"HTTP/1.1 200")
    assert b"HTTP/1.1 408" in received


def test_a_body_that_does_not_come_is_not_waited_for(
    product: Product, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(wire, "SLOWEST_BODY", 0.2)
    path = b"POST /v1/chat/completions HTTP/1.1\r\nhost: 127.0.0.1\r\ncontent-length: 100\r\n\r\n{"
    received = talk(product.url, path, pause=0.5)
    assert received.startswith(b"HTTP/1.1 408")
    assert b"took more than" in received


def test_a_body_that_is_too_large_is_refused_before_it_is_read(
    product: Product, monkeypatch: pytest.MonkeyPatch
) -> None:
    head = b"POST /v1/chat/completions HTTP/1.1\r\nhost: 127.0.0.1\r\n"
    head += b"content-length: 999999999\r\n\r\n"
    assert talk(product.url, head).startswith(b"HTTP/1.1 413")
    monkeypatch.setattr(wire, "LARGEST_BODY", 1000)

    def pieces() -> Iterator[bytes]:
        for _ in range(20):
            yield b"x" * 100

    response = httpx.post(f"{product.url}/v1/chat/completions", content=pieces())
    assert response.status_code == 413


def test_a_client_that_never_reads_does_not_hold_its_place(
    product: Product, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(events, "STALLED_SECONDS", 0.3)
    product.engine.says = " ".join(["x" * 100_000] * 400)
    message = b'{"model": "base", "messages": [{"role": "user", "content": "x"}], "stream": true}'
    head = b"POST /v1/chat/completions HTTP/1.1\r\nhost: 127.0.0.1\r\ncontent-length: %d\r\n\r\n"
    address = (urlsplit(product.url).hostname, urlsplit(product.url).port)
    with socket.create_connection(address, 5) as connection:
        connection.sendall(head % len(message) + message)
        product.until(lambda: "dslm_in_flight 1.0" in product.get("/metrics").text)
        product.until(lambda: "dslm_in_flight 0.0" in product.get("/metrics").text)
        product.until(lambda: product.engine.running == 0)


@pytest.mark.parametrize("path", ["/health", "/ready", "/metrics", "/v1/models", "/v1/domains"])
def test_whatever_can_be_got_answers_head_without_a_body(product: Product, path: str) -> None:
    response = httpx.head(f"{product.url}{path}")
    assert response.status_code == 200
    assert response.content == b""
    assert int(response.headers["content-length"]) > 0


@pytest.mark.parametrize("path", ["/health", "/nowhere", "/v1/models", "/v1/domains/nobody"])
def test_every_response_says_that_it_is_no_page_and_which_request_it_answers(
    product: Product, path: str
) -> None:
    first, second = product.get(path), product.get(path)
    assert first.headers["x-content-type-options"] == "nosniff"
    assert "default-src 'none'" in first.headers["content-security-policy"]
    assert first.headers["x-request-id"] != second.headers["x-request-id"]
    assert "server" not in first.headers


def test_streams_carry_the_same_headers(product: Product) -> None:
    response = product.chat(stream=True)
    assert response.headers["x-content-type-options"] == "nosniff"
    assert response.headers["content-type"].startswith("text/event-stream")


@pytest.mark.parametrize("path", ["/v1/domains/garden/rollback", "/v1/chat/completions"])
def test_a_web_page_cannot_use_somebodys_browser_to_change_things(
    product: Product, path: str
) -> None:
    response = product.post(path, {}, Origin="https://elsewhere.example")
    assert response.status_code == 403
    assert product.get("/v1/models", Origin=product.url).status_code == 200


def test_pages_of_an_origin_that_is_named_may_call(indexed: tuple[Path, Path]) -> None:
    mine = "https://mine.example"
    asked: dict[str, Any] = {
        "Access-Control-Request-Method": "POST",
        "Access-Control-Request-Headers": "authorization,content-type",
    }
    with running(*indexed, cors_origins=mine) as product:
        flight = httpx.options(
            f"{product.url}/v1/chat/completions", headers={"Origin": mine, **asked}
        )
        assert flight.status_code == 200
        assert flight.headers["access-control-allow-origin"] == mine
        answered = product.get("/v1/models", Origin=mine)
        assert answered.headers["access-control-allow-origin"] == mine
        assert product.get("/v1/models", Origin="https://other.example").status_code == 403


def test_without_the_setting_no_page_is_told_that_it_may(product: Product) -> None:
    headers = product.get("/v1/models").headers
    assert not [name for name in headers if name.startswith("access-control")]
