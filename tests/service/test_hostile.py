"""What hostile clients send: never a 5xx, always OpenAI's envelope, and the service stays well."""

import gzip
import json
import shutil
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx
import pytest

from service.answer.gateway import Gateway
from service.api.failures import PER_MINUTE
from service.keys import KeyFile, new_key
from tests.service.product import QUESTION, Product, running

BODY = json.dumps({"model": "garden", "messages": [{"role": "user", "content": QUESTION}]}).encode()
POST = (
    b"POST /v1/chat/completions HTTP/1.1\r\nhost: 127.0.0.1\r\ncontent-type: application/json\r\n"
)
LENGTH = b"content-length: %d\r\n" % len(BODY)
GET = b"GET /v1/models HTTP/1.1\r\nhost: 127.0.0.1\r\n"
END = b"connection: close\r\n\r\n"
CHUNKED = b"transfer-encoding: chunked\r\n"
NOTHING = b"\r\n0\r\n\r\n"


@contextmanager
def connected(url: str) -> Iterator[socket.socket]:
    address = (urlsplit(url).hostname, urlsplit(url).port)
    with socket.create_connection(address, 5) as connection:
        connection.settimeout(10)
        yield connection


def talk(url: str, sent: bytes) -> bytes:
    """All that comes back until the server closes."""
    received = b""
    with connected(url) as connection:
        connection.sendall(sent)
        try:
            while part := connection.recv(65536):
                received += part
        except ConnectionResetError:
            pass
    return received


def answers(received: bytes) -> list[tuple[int, bytes]]:
    """Status and body of each response, one behind the other."""
    found = []
    while received.startswith(b"HTTP/1.1 "):
        head, _, rest = received.partition(b"\r\n\r\n")
        lines = head.lower().split(b"\r\n")
        lengths = [line for line in lines if line.startswith(b"content-length:")]
        size = int(lengths[0].partition(b":")[2]) if lengths else 0
        found.append((int(head[9:12]), rest[:size]))
        received = rest[size:]
    return found


def is_envelope(body: bytes) -> bool:
    return set(json.loads(body)["error"]) == {"message", "type", "param", "code"}


AMBIGUOUS = {
    "length and chunks": POST + LENGTH + CHUNKED + NOTHING,
    "chunks and length": POST + CHUNKED + LENGTH + NOTHING,
    "two lengths": POST + LENGTH + b"content-length: 5\r\n\r\n" + BODY,
    "one length twice": POST + LENGTH + LENGTH + b"\r\n" + BODY,
    "a list of lengths": POST + b"content-length: 5, 5\r\n\r\n" + BODY,
    "a signed length": POST + b"content-length: +5\r\n\r\n" + BODY,
    "a negative length": POST + b"content-length: -5\r\n\r\n" + BODY,
    "an endless length": POST + b"content-length: 99999999999999999999999\r\n\r\n" + BODY,
    "chunks by another name": POST + b"transfer-encoding: xchunked\r\n" + NOTHING,
    "chunks not last": POST + b"transfer-encoding: chunked, identity\r\n" + NOTHING,
    "compressed chunks": POST + b"transfer-encoding: gzip, chunked\r\n" + NOTHING,
    "chunks twice": POST + CHUNKED + CHUNKED + NOTHING,
    "chunks with a blank": POST + b"transfer-encoding : chunked\r\n" + NOTHING,
    "chunks of HTTP/1.0": POST.replace(b"1.1", b"1.0") + CHUNKED + NOTHING,
    "a chunk without size": POST + CHUNKED + b"\r\nZZ\r\n\r\n",
    "an endless chunk": POST + CHUNKED + b"\r\nFFFFFFFFFFFFFFFFFF\r\n\r\n",
    "bare line ends": b"GET /v1/models HTTP/1.1\nhost: 127.0.0.1\n\n",
    "a folded header": GET + b"x: a\r\n b\r\n\r\n",
    "a NUL in a header": GET + b"x: a\0b\r\n\r\n",
    "a return in a header": GET + b"x: a\rb\r\n\r\n",
    "no host": b"GET /v1/models HTTP/1.1\r\n\r\n",
    "two hosts": GET + b"host: evil.example\r\n\r\n",
    "no version": b"GET /v1/models\r\n\r\n",
    "another version": b"GET /v1/models HTTP/3.0\r\nhost: 127.0.0.1\r\n\r\n",
    "a tunnel": b"CONNECT evil.example:443 HTTP/1.1\r\nhost: evil.example\r\n\r\n",
    "another protocol": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n",
    "bytes in a path": b"GET /\xff\xfe HTTP/1.1\r\nhost: 127.0.0.1\r\n\r\n",
    "a request in a body": GET + b"content-length: 4\r\n\r\n" + b"GET /v1/jobs\r\n\r\n",
}


@pytest.mark.parametrize("sent", AMBIGUOUS.values(), ids=AMBIGUOUS)
def test_what_two_servers_could_read_differently_is_refused_and_ends_the_connection(
    product: Product, sent: bytes
) -> None:
    received = talk(product.url, sent)
    status, body = answers(received)[-1]
    assert status == 400
    assert is_envelope(body)
    assert b"x-content-type-options: nosniff" in received.lower()
    assert product.engine.asked == []


def test_requests_in_one_piece_are_answered_in_their_order(product: Product) -> None:
    received = talk(product.url, GET + b"\r\n" + POST + LENGTH + b"\r\n" + BODY + GET + END)
    assert [status for status, _ in answers(received)] == [200, 200, 200]


def test_http_1_0_is_answered_and_ends(product: Product) -> None:
    (answer,) = answers(talk(product.url, b"GET /v1/models HTTP/1.0\r\n\r\n"))
    assert answer[0] == 200


@pytest.mark.parametrize("protocol", [b"websocket", b"h2c", b"TLS/1.0"])
def test_no_other_protocol_is_switched_to(product: Product, protocol: bytes) -> None:
    more = b"upgrade: %b\r\nsec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n" % protocol
    head = GET + more + b"sec-websocket-version: 13\r\nconnection: Upgrade, close\r\n\r\n"
    (answer,) = answers(talk(product.url, head))
    assert answer[0] == 200


def test_a_client_that_closes_its_half_leaves_nothing_behind(product: Product) -> None:
    product.engine.says = "slow " * 50
    with connected(product.url) as connection:
        connection.sendall(POST + LENGTH + b"\r\n" + BODY)
        connection.shutdown(socket.SHUT_WR)
        while connection.recv(65536):
            pass
    product.until(lambda: "dslm_in_flight 0.0" in product.get("/metrics").text)
    product.until(lambda: product.engine.running == 0)


BODIES: list[tuple[str, dict[str, str], bytes, int]] = [
    ("gzip", {"content-encoding": "gzip"}, gzip.compress(BODY), 415),
    ("text", {"content-type": "text/plain"}, BODY, 415),
    ("a form", {"content-type": "application/x-www-form-urlencoded"}, b"model=garden", 415),
    ("another charset", {"content-type": "application/json; charset=utf-16"}, BODY, 415),
    ("a field twice", {}, BODY[:-1] + b', "model": "base"}', 400),
    ("no number", {}, BODY[:-1] + b', "temperature": NaN}', 400),
    ("half a sign", {}, BODY.replace(b"When", b"\\ud83d"), 400),
    ("no UTF-8", {}, BODY.replace(b"When", b"\xff"), 400),
    ("a large number", {}, BODY[:-1] + b', "seed": 9' + b"9" * 300 + b"}", 400),
    ("a larger number", {}, BODY[:-1] + b', "seed": 9' + b"9" * 5000 + b"}", 400),
    ("a long name", {}, BODY.replace(b"garden", b"g" * 100_000), 400),
    ("a long field", {}, BODY[:-1] + b', "' + b"f" * 100_000 + b'": 1}', 400),
    ("many fields", {}, json.dumps({f"f{n}": n for n in range(50_000)}).encode(), 400),
    ("deep tools", {}, BODY[:-1] + b', "tools": ' + b"[" * 60 + b"]" * 60 + b"}", 400),
    ("a name of signs", {}, BODY.replace(b"garden", b"garden\\u0000"), 404),
    ("a release too far", {}, BODY.replace(b"garden", b"garden@" + b"9" * 200), 404),
    ("a release that is none", {}, BODY.replace(b"garden", b"garden@-1"), 404),
    ("a path for a model", {}, BODY.replace(b"garden", b"../../etc/passwd"), 404),
]


@pytest.mark.parametrize(
    ("headers", "body", "status"), [case[1:] for case in BODIES], ids=[case[0] for case in BODIES]
)
def test_a_hostile_body_is_refused(
    product: Product, headers: dict[str, str], body: bytes, status: int
) -> None:
    sent = {"content-type": "application/json", **headers}
    response = httpx.post(f"{product.url}/v1/chat/completions", content=body, headers=sent)
    assert response.status_code == status, response.text[:300]
    assert is_envelope(response.content)
    assert len(response.content) < 2000
    assert product.engine.asked == []


PATHS = [
    "/v1/domains/garden%2f..%2f..%2fkeys.json",
    "/v1/domains/..%2f..%2fetc%2fpasswd/documents",
    "/v1/domains/%00",
    "/v1/domains/garden%00/documents",
    "/v1/domains/%ff%fe",
    "/v1/domains/garden/documents/..%2f..%2fcatalog.db",
    "/v1/domains/garden/documents/../../catalog.db",
    "/v1/domains/garden/documents/%2e%2e/%2e%2e/catalog.db",
    "/v1/domains/garden/documents//etc/passwd",
    "/v1/domains/garden/documents/roses.md%00.txt",
    "/v1/domains/garden/documents/roses.md%2f",
    "/v1/domains/garden/documents/" + "a/" * 2000 + "b",
    "/v1/domains/garden@1/../documents",
    "/v1/domains/" + "g" * 5000,
    "/v1/domains/garden@" + "9" * 5000,
    "/v1/models/" + "%F0%9F%98%80" * 500,
    "/v1/jobs/..%2f..%2fkeys",
    "//v1/models",
    "/v1/models/",
    "/v1//models",
    "/V1/Models",
    "/v1/models;x=1",
]


@pytest.mark.parametrize("path", PATHS, ids=[path[:60] for path in PATHS])
@pytest.mark.parametrize("method", ["GET", "PUT", "DELETE", "POST"])
def test_no_trick_with_a_path_leads_anywhere(product: Product, method: str, path: str) -> None:
    head = f"{method} {path} HTTP/1.1\r\nhost: 127.0.0.1\r\ncontent-length: 2\r\n".encode()
    (answer,) = answers(talk(product.url, head + END + b"{}"))
    assert 400 <= answer[0] < 500, answer
    assert is_envelope(answer[1])


@pytest.mark.parametrize("number", ["0", "-1", "99999999999999999999", "9" * 5000, "1.5", "1e3"])
def test_no_number_of_a_release_is_too_strange(product: Product, number: str) -> None:
    response = product.post(f"/v1/domains/garden/releases/{number}/activate", {})
    assert response.status_code in (400, 404)
    assert is_envelope(response.content)


def test_every_path_answers_every_method_without_a_fault(product: Product) -> None:
    paths = product.get("/openapi.json").json()["paths"]
    filled = [
        path.format(domain="garden", number=1, job="x", model="x", path="x") for path in paths
    ]
    for path in filled:
        for method in ("OPTIONS", "HEAD", "TRACE", "PATCH"):
            response = httpx.request(method, product.url + path, timeout=30)
            assert response.status_code < 500, (method, path)
            if method == "HEAD":
                assert response.content == b""
                continue
            assert response.status_code == 405, (method, path)
            assert response.headers["allow"]
            assert is_envelope(response.content)


def test_no_header_makes_one_method_another(product: Product) -> None:
    for name in ("x-http-method-override", "x-method-override", "x-http-method"):
        headers = {name: "DELETE"}
        response = product.get("/v1/domains/garden/documents/roses.md", **headers)
        assert "Prune roses in March." in response.json()["text"]


def test_a_page_that_calls_itself_this_machine_is_refused(product: Product) -> None:
    """DNS rebinding: the address is ours, the name is the page's."""
    for path in ("/v1/models", "/v1/domains", "/openapi.json"):
        response = product.get(path, Host="evil.example:8080")
        assert response.status_code == 403
        assert is_envelope(response.content)
        assert "DSLM_ALLOWED_HOSTS" in response.json()["error"]["message"]
    response = product.post("/v1/domains/garden/rollback", {}, Host="evil.example")
    assert response.status_code == 403
    assert product.get("/v1/models", Host="localhost:8080").status_code == 200


def test_our_own_fault_is_a_500_that_tells_nothing_and_has_every_header(
    product: Product, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def broken(self: Gateway, *_: Any) -> Any:
        raise RuntimeError("the secret of the house")

    monkeypatch.setattr(Gateway, "plan", broken)
    response = product.chat()
    assert response.status_code == 500
    assert is_envelope(response.content)
    assert "secret" not in response.text
    assert response.headers["x-content-type-options"] == "nosniff"
    assert response.headers["x-request-id"]
    monkeypatch.undo()
    assert product.chat().status_code == 200


def test_wrong_keys_are_not_answered_for_ever_and_a_right_one_always_is(
    indexed: tuple[Path, Path], tmp_path: Path
) -> None:
    store = tmp_path / "store"
    shutil.copytree(indexed[0], store)
    key, text = new_key("test", chat=("*",), admin=("*",))
    KeyFile(store).add(key)
    with running(store, indexed[1]) as product:
        seen = [
            product.get("/v1/models", Authorization="Bearer dslm-nobody-x").status_code
            for _ in range(PER_MINUTE + 20)
        ]
        assert seen[:PER_MINUTE] == [401] * PER_MINUTE
        assert 429 in seen
        refused = product.get("/v1/models")
        assert int(refused.headers["retry-after"]) >= 1
        assert refused.json()["error"]["code"] == "too_many_failures"
        right = product.get("/v1/models", Authorization=f"Bearer {text}", Host="any.example")
        assert right.status_code == 200


def test_after_all_of_this_the_service_is_well(product: Product) -> None:
    assert product.chat().status_code == 200
    metrics = product.get("/metrics").text
    assert "dslm_in_flight 0.0" in metrics
    assert "nobody" not in metrics
    assert "passwd" not in metrics
