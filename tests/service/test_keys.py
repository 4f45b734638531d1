"""API keys: hashed, scoped, limited, noticed at once, and never let in by accident."""

import json
import stat
import threading
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import httpx
import pytest

from indexer.errors import BadInput, NotFound, StoreError
from service.api.auth import Caller, check
from service.errors import Forbidden, TooManyRequests, TooManyTokens
from service.keys import ALL, Key, KeyFile, KeyRing, is_loopback, new_key, refuse_to_stand_open
from service.quotas import Quota
from tests.service.product import Product, running


class Clock:
    """Time that passes when it is told to."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        self.now += 1
        return self.now


@pytest.fixture
def file(tmp_path: Path) -> KeyFile:
    return KeyFile(tmp_path / "store")


def ring_of(file: KeyFile) -> KeyRing:
    return KeyRing(file, Clock())


def test_a_key_opens_what_it_was_made_for_and_stands_nowhere_in_the_file(file: KeyFile) -> None:
    key, text = new_key("web", chat=("legal",))
    file.add(key)
    assert ring_of(file).find(text) == key
    assert text not in file.path.read_text("utf-8")
    assert text.rpartition("-")[2] not in file.path.read_text("utf-8")
    assert stat.S_IMODE(file.path.stat().st_mode) == 0o600


def test_every_key_is_another_one_of_256_random_bits() -> None:
    texts = {new_key("x", chat=(ALL,))[1] for _ in range(200)}
    assert len(texts) == 200
    assert min(len(text.split("-", 2)[2]) for text in texts) == 43


@pytest.mark.parametrize("change", ["", "x", "dslm-", "dslm", "Bearer", "dslm-abc-", "\ud800"])
def test_what_only_looks_like_a_key_opens_nothing(file: KeyFile, change: str) -> None:
    key, text = new_key("web", chat=("legal",))
    file.add(key)
    assert ring_of(file).find(change) is None
    assert ring_of(file).find(text[:-1]) is None
    assert ring_of(file).find(text + "A") is None
    assert ring_of(file).find(text.replace(key.id, "0" * 12)) is None


def test_a_revoked_key_and_one_that_has_ended_open_nothing(file: KeyFile) -> None:
    revoked, first = new_key("a", chat=("legal",))
    ending, second = new_key("b", chat=("legal",), days=1)
    file.add(revoked)
    file.add(ending)
    file.revoke(revoked.id, datetime.now(UTC))
    later = datetime.now(UTC) + timedelta(days=2)
    assert KeyRing(file, Clock(), lambda: later).find(second) is None
    ring = ring_of(file)
    assert ring.find(second) is not None
    assert ring.find(first) is None
    assert ring.configured()


def test_a_change_of_the_file_is_noticed_within_a_second(file: KeyFile) -> None:
    seconds = [0.0]
    ring = KeyRing(file, lambda: seconds[0])
    assert not ring.configured()
    key, text = new_key("web", chat=("legal",))
    file.add(key)
    seconds[0] += 0.9
    assert ring.find(text) is not None
    file.revoke(key.id, datetime.now(UTC))
    seconds[0] += 0.9
    assert ring.find(text) is None


@pytest.mark.parametrize("content", ["", "{", '{"keys": [{}]}', '{"keys": [], "more": 1}', "\xff"])
def test_a_file_that_cannot_be_read_lets_nobody_in(file: KeyFile, content: str) -> None:
    file.path.parent.mkdir(parents=True)
    file.path.write_text(content, "latin-1")
    with pytest.raises(StoreError, match="cannot be read"):
        file.read()
    ring = ring_of(file)
    assert ring.configured()
    assert ring.broken is not None
    assert ring.find("dslm-a-b") is None


def test_many_who_add_at_once_lose_no_key(file: KeyFile) -> None:
    def add() -> None:
        for _ in range(5):
            file.add(new_key("x", chat=(ALL,))[0])

    threads = [threading.Thread(target=add) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(file.read()) == 20


def test_a_key_for_nothing_or_for_no_name_is_refused(file: KeyFile) -> None:
    with pytest.raises(BadInput, match="nothing"):
        new_key("x")
    with pytest.raises(BadInput, match="Legal!"):
        new_key("x", chat=("Legal!",))
    with pytest.raises(NotFound):
        file.revoke("abc", datetime.now(UTC))


@pytest.mark.parametrize(
    ("host", "allowed"),
    [
        ("127.0.0.1", True),
        ("::1", True),
        ("localhost", True),
        ("127.8.0.1", True),
        ("0.0.0.0", False),
        ("::", False),
        ("10.0.0.1", False),
        ("example.org", False),
    ],
)
def test_without_keys_only_loopback_is_served(host: str, allowed: bool) -> None:
    assert is_loopback(host) == allowed
    if allowed:
        refuse_to_stand_open(host, (), allow_open=False)
        return
    with pytest.raises(BadInput, match=host):
        refuse_to_stand_open(host, (), allow_open=False)
    refuse_to_stand_open(host, (), allow_open=True)
    refuse_to_stand_open(host, (new_key("x", chat=(ALL,))[0],), allow_open=False)


REACH = [
    # method, path, chat on legal, admin of legal, admin of all
    ("POST", "/v1/chat/completions", True, True, True),
    ("GET", "/v1/models", True, True, True),
    ("GET", "/v1/domains", True, True, True),
    ("POST", "/v1/domains", False, False, True),
    ("GET", "/v1/domains/legal", True, True, True),
    ("GET", "/v1/domains/legal@3/documents/a/b.md", True, True, True),
    ("GET", "/v1/domains/support", False, False, True),
    ("PUT", "/v1/domains/legal/adapter", False, True, True),
    ("DELETE", "/v1/domains/legal/documents/a.md", False, True, True),
    ("POST", "/v1/domains/support/rollback", False, False, True),
    ("POST", "/v1/domains/legal%0a/rollback", False, False, True),
    ("POST", "/v1/domains//legal/rollback", False, False, True),
    ("GET", "/v1/jobs/1", False, True, True),
    ("GET", "/metrics", False, False, True),
    ("POST", "/v1/something/new", False, False, True),
    ("GET", "/openapi.json", False, False, True),
]


@pytest.mark.parametrize(("method", "path", "chat", "admin", "every"), REACH)
def test_a_key_reaches_as_far_as_its_scopes(
    method: str, path: str, chat: bool, admin: bool, every: bool
) -> None:
    nothing: frozenset[str] = frozenset()
    callers = {
        Caller("1", frozenset({"legal"}), nothing): chat,
        Caller("2", nothing, frozenset({"legal"})): admin,
        Caller("3", nothing, frozenset({ALL})): every,
    }
    for caller, allowed in callers.items():
        if allowed:
            check(caller, method, path)
        else:
            with pytest.raises(Forbidden):
                check(caller, method, path)


def limited(requests: int | None = None, tokens: int | None = None) -> Key:
    return new_key("x", chat=(ALL,), requests_per_minute=requests, tokens_per_minute=tokens)[0]


def test_requests_beyond_the_limit_wait_for_the_time_that_they_are_told() -> None:
    seconds = [0.0]
    quota = Quota(limited(requests=3), lambda: seconds[0])
    for _ in range(3):
        quota.count_request()
    with pytest.raises(TooManyRequests) as refused:
        quota.count_request()
    assert refused.value.retry_after == pytest.approx(20)
    assert quota.headers()["x-ratelimit-remaining-requests"] == "0"
    seconds[0] += 20
    quota.count_request()


def test_tokens_are_counted_as_spent_and_not_as_asked_for() -> None:
    seconds = [0.0]
    quota = Quota(limited(tokens=600), lambda: seconds[0])
    held = quota.reserve(500)
    with pytest.raises(TooManyTokens):
        quota.reserve(200)
    quota.settle(held, 100)
    assert quota.headers()["x-ratelimit-remaining-tokens"] == "500"
    quota.settle(quota.reserve(0), 1000)
    with pytest.raises(TooManyTokens) as refused:
        quota.reserve(0)
    assert refused.value.retry_after == pytest.approx(50.1)
    seconds[0] += 120
    quota.settle(quota.reserve(100_000), 0)
    assert quota.headers()["x-ratelimit-remaining-tokens"] == "600"


@pytest.fixture
def store(indexed: tuple[Path, Path], tmp_path: Path) -> tuple[Path, Path]:
    """The indexed store with room for keys of this test's own."""
    store = tmp_path / "store"
    store.mkdir()
    for entry in indexed[0].iterdir():
        (store / entry.name).symlink_to(entry)
    return store, indexed[1]


@pytest.fixture
def guarded(store: tuple[Path, Path]) -> Iterator[tuple[Product, KeyFile]]:
    file = KeyFile(store[0])
    key, text = new_key("ops", chat=(ALL,), admin=(ALL,))
    file.add(key)
    with running(*store) as product:
        product.headers["Authorization"] = f"Bearer {text}"
        yield product, file


def test_the_service_lets_in_who_has_a_key_and_no_one_else(
    guarded: tuple[Product, KeyFile],
) -> None:
    product, file = guarded
    assert product.chat().status_code == 200
    for header in ({}, {"Authorization": "Bearer dslm-a-b"}, {"Authorization": "Basic x"}):
        refused = httpx.get(f"{product.url}/v1/models", headers=header)
        assert refused.status_code == 401
        assert refused.headers["WWW-Authenticate"] == "Bearer"
        assert refused.json()["error"]["code"] == "invalid_api_key"
    for path in ("/health", "/ready", "/metrics"):
        assert httpx.get(f"{product.url}{path}").status_code == 200
    narrow, text = new_key("web", chat=("garden",), requests_per_minute=4)
    file.add(narrow)
    mine = {"Authorization": f"Bearer {text}"}
    product.until(lambda: httpx.get(f"{product.url}/v1/domains", headers=mine).status_code == 200)
    listed = product.get("/v1/models", **mine).json()["data"]
    assert [card["id"] for card in listed] == ["garden"]
    product.headers = mine
    other = product.chat("pantry")
    assert (other.status_code, other.json()["error"]["code"]) == (403, "insufficient_permissions")
    assert product.chat("base").status_code == 403
    limited_now = product.chat()
    assert limited_now.status_code == 429
    assert limited_now.json()["error"]["code"] == "rate_limit_exceeded"
    assert int(limited_now.headers["Retry-After"]) >= 1
    assert other.headers["x-ratelimit-limit-requests"] == "4"
    file.revoke(narrow.id, datetime.now(UTC))
    product.until(lambda: product.get("/v1/models").status_code == 401, 2)


def test_tokens_of_a_stream_count_against_the_key(guarded: tuple[Product, KeyFile]) -> None:
    product, file = guarded
    key, text = new_key("web", chat=("garden",), tokens_per_minute=100)
    file.add(key)
    product.headers = {"Authorization": f"Bearer {text}"}
    product.until(lambda: product.get("/v1/models").status_code == 200)
    assert product.chat(stream=True).text.endswith("data: [DONE]\n\n")
    left = product.get("/v1/models").headers["x-ratelimit-remaining-tokens"]
    assert 95 <= int(left) <= 98


def test_an_official_client_with_a_wrong_key_is_told_so(guarded: tuple[Product, KeyFile]) -> None:
    import openai

    product, _ = guarded
    with openai.OpenAI(base_url=f"{product.url}/v1", api_key="no", max_retries=0) as client:
        with pytest.raises(openai.AuthenticationError, match="not valid"):
            client.models.list()


def test_the_file_is_json_that_names_what_a_key_may_do(file: KeyFile) -> None:
    key, _ = new_key("web", chat=("legal",), admin=("support",))
    file.add(key)
    (kept,) = json.loads(file.path.read_text("utf-8"))["keys"]
    assert (kept["chat"], kept["admin"]) == (["legal"], ["support"])
