"""Releases through the API: made from parts, compared, activated, audited; other processes' too."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from adapters.audit import Cause
from adapters.parts import Changes
from adapters.pruning import prune
from indexer.domain import load_domains
from service.keys import ALL, KeyFile, new_key
from tests.service.product import Product, running
from tests.service.trying import (
    SECOND,
    ask,
    call,
    check_noticed,
    copied,
    done,
    releases_of,
    reset,
    seconds_until,
)


@pytest.fixture(scope="module")
def shared(
    indexed: tuple[Path, Path], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Product]:
    """With a key for everything, so that the audit has a name to tell."""
    store, domains = copied(indexed, tmp_path_factory.mktemp("releases"))
    key, text = new_key("ops", chat=(ALL,), admin=(ALL,))
    KeyFile(store).add(key)
    with running(store, domains) as product:
        product.headers["Authorization"] = f"Bearer {text}"
        yield product


@pytest.fixture
def product(shared: Product) -> Product:
    reset(shared)
    return shared


def live_number(product: Product) -> int:
    number: int = done(product.get("/v1/domains/garden"))["release"]["number"]
    return number


def test_a_release_is_made_from_parts_and_waits_until_it_is_activated(product: Product) -> None:
    wanted = {
        "adapter": SECOND,
        "answer": {"refusal": "Not in my garden."},
        "retrieval": {"passages": 3},
        "note": "three passages",
        "why": "shorter answers",
    }
    response = call(product, "POST", "releases", wanted)
    assert response.status_code == 201, response.text
    made = response.json()
    assert (made["adapter"]["name"], made["adapter"]["version"]) == ("support-style", 2)
    assert (made["refusal"], made["retrieval"]["passages"]) == ("Not in my garden.", 3)
    assert (made["parent"], made["note"]) == (2, "three passages")
    assert live_number(product) == 2
    assert done(call(product, "GET", f"releases/{made['number']}")) == made
    changes = done(call(product, "GET", f"releases/{made['number']}/diff"))
    assert (changes["from"], changes["to"]) == (2, made["number"])
    assert changes["changes"]["retrieval.passages"] == {"from": 4, "to": 3}
    against = done(call(product, "GET", f"releases/2/diff?against={made['number']}"))
    assert against["changes"]["retrieval.passages"] == {"from": 3, "to": 4}
    done(call(product, "POST", f"releases/{made['number']}/activate", {"why": "go"}))
    assert ask(product, "x")["dslm"]["adapter"] == SECOND
    back = done(call(product, "POST", "rollback", {"why": "no"}))
    assert back["number"] == 2
    entries = done(call(product, "GET", "audit"))["data"]
    told = [(e["action"], e["from"], e["to"], e["why"]) for e in entries[-3:]]
    assert told == [
        ("create", 2, made["number"], "shorter answers"),
        ("activate", 2, made["number"], "go"),
        ("rollback", made["number"], 2, "no"),
    ]
    assert {entry["who"].split()[0] for entry in entries[-3:]} == {"key:ops"}


def test_a_release_may_answer_at_once_and_without_an_adapter(product: Product) -> None:
    made = done(call(product, "POST", "releases", {"adapter": None, "activate": True}))
    assert made["adapter"] is None
    assert live_number(product) == made["number"]
    kept = done(call(product, "POST", "releases", {"answer": {"max_tokens": 7}}))
    assert (kept["adapter"], kept["max_tokens"]) == (None, 7)


@pytest.mark.parametrize(
    ("body", "status", "told"),
    [
        ({"adapter": "nobody@7"}, 404, "nobody@7"),
        ({"snapshot": "../../pantry/snapshots/x"}, 404, "no snapshot"),
        ({"answer": {"mode": "loud"}}, 400, "`answer.mode` = 'loud'"),
        ({"answer": {"moood": "quote"}}, 400, "Did you mean `answer.mode`"),
        ({"retrieval": {"passages": -1}}, 400, "`retrieval.passages` = -1"),
        ({"answer": {"prompt_format": "passages"}}, 400, "sentences"),
        ({"colour": 1}, 400, "Unknown field 'colour'"),
        ({"activate": "yes"}, 400, "'activate' = 'yes'"),
        ({"note": "x" * 2001}, 400, "note"),
    ],
)
def test_what_cannot_be_made_is_said_and_nothing_is_made(
    product: Product, body: dict[str, object], status: int, told: str
) -> None:
    before = list(releases_of(product).numbers("garden"))
    response = call(product, "POST", "releases", body)
    assert response.status_code == status, response.text
    assert told in response.json()["error"]["message"]
    assert list(releases_of(product).numbers("garden")) == before


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        ("GET", "releases/99", None),
        ("GET", "releases/0/diff", None),
        ("GET", "releases/2/diff?against=99", None),
        ("POST", "releases/99/activate", None),
        ("PUT", "canary", {"release": 99, "share": 0.5}),
        ("PUT", "mirror", {"release": 99}),
    ],
)
def test_an_unknown_release_is_404_and_names_those_that_exist(
    product: Product, method: str, path: str, body: object
) -> None:
    response = call(product, method, path, body)
    assert response.status_code == 404
    assert "Its releases: 1 to " in response.json()["error"]["message"]
    assert live_number(product) == 2


def test_a_release_made_elsewhere_answers_here_within_a_second(product: Product) -> None:
    store = releases_of(product)
    took = []
    for number in (3, 2, 3, 2):
        store.activate("garden", number, Cause("another process"))
        took.append(seconds_until(product, lambda n=number: live_number(product) == n))
    domain = load_domains(product.service.settings.domains)["garden"]
    made = store.create(domain, changes=Changes(answer={"refusal": "Nothing."}))
    took.append(seconds_until(product, lambda: live_number(product) == made.number))
    check_noticed(took)


def test_a_release_that_cannot_be_opened_elsewhere_made_leaves_the_old_one_answering(
    product: Product,
) -> None:
    store = releases_of(product)
    store.pointer("garden").point(3)
    product.until(lambda: live_number(product) == 3)
    file = store.file("garden", 2)
    content = file.read_bytes()
    file.write_bytes(content.replace(b'"snapshot": "', b'"snapshot": "0'))
    try:
        store.pointer("garden").point(2)
        assert ask(product, "x")["dslm"]["release"] == 3
        response = call(product, "POST", "releases/2/activate")
        assert response.status_code == 500
    finally:
        file.write_bytes(content)
    product.until(lambda: live_number(product) == 2)


def test_only_an_admin_of_the_domain_changes_it_or_reads_who_did(product: Product) -> None:
    file = KeyFile(product.service.settings.store)
    texts = {}
    for name, chat, admin in (
        ("asks", ("garden",), ()),
        ("leads", (), ("garden",)),
        ("other", ("pantry",), ("pantry",)),
    ):
        key, texts[name] = new_key(name, chat=chat, admin=admin)
        file.add(key)
    mine = dict(product.headers)

    def status(name: str, method: str, path: str, body: object = None) -> int:
        product.headers = {"Authorization": f"Bearer {texts[name]}"}
        try:
            return call(product, method, path, body).status_code
        finally:
            product.headers = mine

    product.until(lambda: status("other", "GET", "releases") == 403)
    changes = [
        ("POST", "releases", {}),
        ("POST", "releases/3/activate", None),
        ("POST", "rollback", None),
        ("PUT", "canary", {"release": 3, "share": 0.5}),
        ("POST", "canary/promote", None),
        ("DELETE", "canary", None),
        ("PUT", "mirror", {"release": 3}),
        ("DELETE", "mirror", None),
        ("GET", "audit", None),
    ]
    for method, path, body in changes:
        assert [status(name, method, path, body) for name in ("asks", "other")] == [403, 403], path
    assert live_number(product) == 2
    for path in ("releases", "releases/2", "releases/3/diff", "traffic"):
        assert [status(name, "GET", path) for name in texts] == [200, 200, 403]
    assert status("leads", "GET", "audit") == 200
    assert status("leads", "POST", "releases/3/activate") == 200
    assert live_number(product) == 3
    last = done(call(product, "GET", "audit?limit=1"))
    assert last["has_more"] is True
    assert last["data"][0]["who"].startswith("key:leads ")
    assert ask(product, "x")["dslm"]["adapter"] == SECOND


def test_pruning_leaves_what_the_running_service_has_open(product: Product) -> None:
    store = releases_of(product)
    made = done(call(product, "POST", "releases", {"activate": True}))["number"]
    done(product.chat("garden@1"))
    found = {
        one.release.number: one.in_use for one in prune(store, "garden", 0, Cause("me"), dry=True)
    }
    assert found[1] is True
    assert made not in found
