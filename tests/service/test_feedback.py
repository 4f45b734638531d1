"""`POST /v1/feedback`: linked to the release that answered, for those who got the answer."""

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from adapters.answered import AnsweredLog
from adapters.feedback import FeedbackStore
from service.keys import KeyFile, new_key
from tests.service.product import FAR, QUESTION, Product, running
from tests.service.trying import metric


@pytest.fixture(scope="module")
def keys() -> dict[str, str]:
    return {}


@pytest.fixture(scope="module")
def product(
    indexed: tuple[Path, Path], tmp_path_factory: pytest.TempPathFactory, keys: dict[str, str]
) -> Iterator[Product]:
    """With a key for garden, another, one for pantry, and one that may change garden."""
    store = tmp_path_factory.mktemp("feedback") / "store"
    shutil.copytree(indexed[0], store)
    for name, chat, admin in (
        ("ann", ("garden",), ()),
        ("bob", ("garden",), ()),
        ("eve", ("pantry",), ()),
        ("ops", ("garden",), ("garden",)),
    ):
        key, text = new_key(name, chat=chat, admin=admin)
        KeyFile(store).add(key)
        keys[name] = f"Bearer {text}"
    with running(store, indexed[1]) as made:
        made.headers["Authorization"] = keys["ann"]
        yield made


def send(product: Product, body: Any, authorization: str | None = None) -> httpx.Response:
    headers = {"Authorization": authorization} if authorization else {}
    return product.post("/v1/feedback", body, **headers)


def answered(product: Product, question: str = FAR, **more: Any) -> str:
    """The id of a refusal, which needs no engine and so has an id of its own."""
    name: str = product.chat("garden", question, **more).json()["id"]
    return name


def opinions(product: Product) -> FeedbackStore:
    return FeedbackStore(product.service.releases.store.paths, "garden")


def test_thumbs_find_the_release_that_answered(product: Product) -> None:
    name = answered(product)
    response = send(product, {"id": name, "model": "garden", "rating": "down", "comment": "no"})
    assert response.status_code == 201, response.text
    card = response.json()
    assert (card["object"], card["answer"], card["release"]) == ("feedback", name, 1)
    (kept,) = [one for one in opinions(product).list() if one.id == card["id"]]
    assert (kept.rating, kept.role, kept.comment) == ("down", "live", "no")
    labels = {"domain": "garden", "role": "live", "rating": "down", "corrected": "no"}
    assert metric_with(product, labels) >= 1


def metric_with(product: Product, labels: dict[str, str]) -> float:
    return metric(product, "dslm_feedback_total", **labels)


def test_a_correction_comes_with_the_question_that_was_asked(product: Product) -> None:
    body = {"id": answered(product), "model": "garden", "corrected_answer": "Rossini."}
    missing = send(product, body)
    assert (missing.status_code, missing.json()["error"]["param"]) == (400, "question")
    other = send(product, {**body, "question": "Who is the best?"})
    assert (other.status_code, other.json()["error"]["param"]) == (400, "question")
    card = send(product, {**body, "question": f" {FAR} "}).json()
    assert card["corrected"] is True
    kept = opinions(product).get(card["id"])
    assert (kept.corrected, kept.rating) == ("Rossini.", None)


def test_streams_and_answers_of_the_engine_have_their_ids_too(product: Product) -> None:
    for question in (QUESTION, FAR):
        text = product.chat("garden", question, stream=True).text
        events = [line[6:] for line in text.splitlines() if line.startswith("data: {")]
        names = {json.loads(event)["id"] for event in events}
        assert len(names) == 1
        body = {"id": names.pop(), "model": "garden", "rating": "up"}
        assert send(product, body).status_code == 201


def test_an_answer_is_noted_without_its_text(product: Product) -> None:
    name = answered(product, safety_identifier="somebody")
    log = AnsweredLog(product.service.releases.store.paths, "garden")
    product.until(lambda: log.find(name) is not None)
    line = log.find(name)
    assert line is not None
    assert (line.release, line.role, line.refused) == (1, "live", True)
    text = log.files()[1].read_text("utf-8")
    assert "barber" not in text
    assert "somebody" not in text
    product.chat("garden", QUESTION)
    product.until(lambda: any(one.refused is False for one in log.read()))


def test_only_who_got_an_answer_or_cares_for_the_domain_may_judge_it(
    product: Product, keys: dict[str, str]
) -> None:
    body = {"id": answered(product), "model": "garden", "rating": "up"}
    assert send(product, body, keys["bob"]).status_code == 404
    assert send(product, body, keys["eve"]).status_code == 403
    assert send(product, body, "Bearer wrong").status_code == 401
    assert send(product, body, keys["ops"]).status_code == 201
    assert send(product, body).status_code == 201


@pytest.mark.parametrize(
    ("changes", "status", "param"),
    [
        ({"id": "chatcmpl-unknown"}, 404, "id"),
        ({"model": "nobody"}, 403, None),
        ({"model": "base"}, 403, None),
        ({"rating": "good"}, 400, "rating"),
        ({"rating": None}, 400, None),
        ({"stars": 5}, 400, "stars"),
        ({"id": 5}, 400, "id"),
        ({"comment": "x" * 2001}, 400, "comment"),
        ({"corrected_answer": "x" * 8001, "question": "?"}, 400, "corrected_answer"),
        ({"corrected_answer": "  ", "question": "?"}, 400, "corrected_answer"),
    ],
)
def test_what_is_no_opinion_is_refused_by_name(
    product: Product, changes: dict[str, Any], status: int, param: str | None
) -> None:
    body = {"id": "chatcmpl-1", "model": "garden", "rating": "up", **changes}
    response = send(product, body)
    assert response.status_code == status, response.text
    assert response.json()["error"]["param"] == param
    assert set(response.json()["error"]) == {"message", "type", "param", "code"}


def test_a_full_file_is_said_and_keeps_what_it_has(
    product: Product, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = opinions(product).list()
    body = {"id": answered(product), "model": "garden", "rating": "up"}
    defaults = (1,)
    monkeypatch.setattr(FeedbackStore.__init__, "__defaults__", defaults)
    response = send(product, body)
    monkeypatch.undo()
    assert (response.status_code, response.json()["error"]["code"]) == (507, "insufficient_storage")
    assert opinions(product).list() == before


def test_answers_are_found_after_a_restart(indexed: tuple[Path, Path], tmp_path: Path) -> None:
    store = tmp_path / "store"
    shutil.copytree(indexed[0], store)
    with running(store, indexed[1]) as first:
        name = answered(first)
    with running(store, indexed[1]) as second:
        assert send(second, {"id": name, "model": "garden", "rating": "up"}).status_code == 201


def test_nothing_is_noted_where_nobody_wants_it(indexed: tuple[Path, Path], tmp_path: Path) -> None:
    store = tmp_path / "store"
    # Others have been answered out of that store.
    shutil.copytree(indexed[0], store, ignore=shutil.ignore_patterns("answers"))
    with running(store, indexed[1], answer_notes_mb=0) as product:
        name = answered(product)
        body = {"id": name, "model": "garden", "rating": "up"}
        assert send(product, body).status_code == 404
    assert not AnsweredLog(product.service.releases.store.paths, "garden").folder.exists()
