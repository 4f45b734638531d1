"""A mirror: asked again what the live release was asked, and no caller feels it."""

import os
import stat
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx
import pytest

from adapters.audit import Cause
from adapters.mirrored import NEWER, OLDER, Comparison, Mirrored, Said
from adapters.steering import set_mirror
from adapters.traffic import Mirror
from indexer.settings import Paths
from service.answer.mirror import Allowance
from tests.service.product import FAR, Product
from tests.service.trying import (
    BARE,
    ask,
    call,
    done,
    metric,
    releases_of,
    reset,
    trying,
)

COUNTED = "dslm_mirrored_total"


@pytest.fixture(scope="module")
def shared(
    indexed: tuple[Path, Path], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Product]:
    with trying(indexed, tmp_path_factory.mktemp("mirror")) as product:
        yield product


@pytest.fixture
def product(shared: Product) -> Iterator[Product]:
    reset(shared)
    for file in kept(shared).files():
        file.unlink(missing_ok=True)
    shared.engine.asked.clear()
    shared.engine.pause, shared.engine.says = 0.02, ""
    yield shared
    shared.engine.fails.clear()


def kept(product: Product) -> Mirrored:
    return Mirrored(releases_of(product).paths, "garden")


def comparisons(product: Product, count: int) -> list[Comparison]:
    """As soon as there are so many."""
    product.until(lambda: len(list(kept(product).read())) >= count)
    return [one for one in kept(product).read() if one]


def begin(product: Product, **more: Any) -> None:
    done(call(product, "PUT", "mirror", {"release": 3, "per_minute": 60_000, **more}))


def outcomes(product: Product) -> dict[str, float]:
    names = ("same", "different", "failed", "busy", "rate")
    return {name: metric(product, COUNTED, domain="garden", outcome=name) for name in names}


def settled(product: Product, before: dict[str, float], asked: int) -> None:
    """Once so many questions were mirrored or not: the next test must not meet one of them."""
    product.until(lambda: sum(outcomes(product).values()) >= sum(before.values()) + asked)


def test_both_answers_are_kept_side_by_side(product: Product) -> None:
    begin(product)
    answer = ask(product, "x")
    (found,) = comparisons(product, 1)
    assert found.live.text == answer["choices"][0]["message"]["content"]
    assert (found.live.release, found.mirror.release) == (2, 3)
    assert answer["dslm"]["release"] == 2
    asked = [one["model"] for one in product.engine.asked]
    assert len(asked) == 2
    assert found.mirror.text.startswith(asked[1])
    assert (found.same, found.mirror.error, found.live.finish) == (False, "", "stop")
    assert found.mirror.seconds is not None
    assert done(call(product, "GET", "traffic"))["mirror"]["release"] == 3


def test_the_same_answer_is_told_as_such_and_the_question_is_not_kept(product: Product) -> None:
    product.engine.says = "The same words."
    begin(product)
    before = outcomes(product)
    for _ in range(2):
        done(product.chat(question="When do secret roses bloom?", dslm=BARE))
        product.until(lambda: product.engine.running == 0)
        time.sleep(0.1)
    first, second = comparisons(product, 2)
    assert first.same
    assert first.question == second.question
    assert outcomes(product)["same"] == before["same"] + 2
    for file in kept(product).files():
        assert not file.exists() or b"secret" not in file.read_bytes()


def test_streams_and_answers_without_an_engine_are_mirrored_too(product: Product) -> None:
    begin(product)
    streamed = product.chat(dslm=BARE, stream=True)
    assert streamed.text.endswith("data: [DONE]\n\n")
    (found,) = comparisons(product, 1)
    assert found.live.text.startswith("support-style@")
    refused = done(product.chat(question=FAR))
    assert refused["dslm"]["refused"] is True
    found = comparisons(product, 2)[-1]
    assert found.same
    assert found.live.text == refused["choices"][0]["message"]["content"]
    quoted = done(product.chat(dslm={"mode": "quote"}))
    found = comparisons(product, 3)[-1]
    assert (found.live.mode, found.same) == ("quote", True)
    assert "roses.md" in found.live.documents
    assert quoted["dslm"]["mode"] == "quote"


def test_the_caller_waits_for_no_mirror(product: Product) -> None:
    before = outcomes(product)
    begin(product)
    ask(product, "warm")
    comparisons(product, 1)
    product.engine.pause = 0.4
    url = f"{product.url}/v1/chat/completions"
    body = {"model": "garden", "dslm": BARE, "stream": True}
    body["messages"] = [{"role": "user", "content": "slow and long ."}]
    began = time.monotonic()
    with httpx.stream("POST", url, json=body, timeout=30) as stream:
        list(stream.iter_lines())
    whole = time.monotonic() - began
    product.until(lambda: product.engine.running == 1)
    began = time.monotonic()
    product.engine.pause = 0.0
    ask(product, "meanwhile")
    assert time.monotonic() - began < whole
    assert product.engine.running == 1, "the mirror had ended before the next caller was served"
    settled(product, before, 3)


def test_a_mirror_that_fails_is_told_as_such_and_callers_are_answered(product: Product) -> None:
    begin(product)
    before = outcomes(product)["failed"]
    product.engine.fails[:] = ["", "500", "500"]  # the mirror's question, and its second try
    assert ask(product, "x")["dslm"]["release"] == 2
    (found,) = comparisons(product, 1)
    assert found.mirror.error
    assert not found.same
    assert outcomes(product)["failed"] == before + 1


def test_only_what_the_live_release_answered_whole_is_mirrored(product: Product) -> None:
    begin(product)
    done(product.chat("garden@1", dslm=BARE))
    done(product.chat(n=2, temperature=1.0, dslm=BARE))
    done(product.post("/v1/completions", {"model": "garden", "prompt": "Hi", "dslm": BARE}))
    done(product.chat("pantry"))
    done(product.chat("base"))
    assert product.chat(dslm=BARE, temperature=9).status_code == 400
    done(call(product, "PUT", "canary", {"release": 1, "share": 1.0}))
    assert ask(product, "x")["dslm"]["release"] == 1
    time.sleep(0.3)
    assert list(kept(product).read()) == []


def test_nobody_is_asked_again_once_it_has_ended_or_beyond_its_rate(product: Product) -> None:
    begin(product, per_minute=1)
    before = outcomes(product)["rate"]
    for _ in range(3):
        ask(product, "x")
        product.until(lambda: product.engine.running == 0)
        time.sleep(0.05)
    assert len(comparisons(product, 1)) <= 1
    assert outcomes(product)["rate"] >= before + 2
    done(call(product, "DELETE", "mirror"))
    asked = len(product.engine.asked)
    ask(product, "x")
    time.sleep(0.2)
    assert len(product.engine.asked) == asked + 1
    assert done(call(product, "GET", "traffic"))["mirror"] is None


def test_a_mirror_from_elsewhere_counts_here_and_gives_no_answers(product: Product) -> None:
    cause, before = Cause("another process"), outcomes(product)
    set_mirror(releases_of(product), "garden", Mirror(release=3, per_minute=60_000), cause)
    mirror = product.service.releases.beside.mirror
    product.until(lambda: mirror("garden") is not None)
    for _ in range(3):
        assert ask(product, "x")["dslm"]["release"] == 2
    settled(product, before, 3)
    assert comparisons(product, 1)


@pytest.mark.parametrize(
    "body",
    [
        {"release": 2},
        {"release": 3, "share": 0},
        {"release": 3, "per_minute": 0},
        {"release": 3, "max_mb": 0},
        {"release": 3, "keep": 1},
        {},
    ],
)
def test_what_cannot_be_is_refused(product: Product, body: dict[str, object]) -> None:
    response = call(product, "PUT", "mirror", body)
    assert response.status_code == 400, response.text
    assert done(call(product, "GET", "traffic"))["mirror"] is None


def said(text: str) -> Comparison:
    one = Said(release=1, text=text)
    return Comparison(at=datetime.now(UTC), question="q", same=True, live=one, mirror=one)


def test_what_is_kept_is_bounded_and_the_newest_stays(tmp_path: Path) -> None:
    mirrored = Mirrored(Paths(tmp_path), "garden")
    for number in range(200):
        assert mirrored.append(said(f"{number:04} " + "x" * 500), 64 * 1024)
    total = sum(file.stat().st_size for file in mirrored.files())
    assert 32 * 1024 < total <= 64 * 1024
    texts = [one.live.text[:4] for one in mirrored.read() if one]
    assert texts == [f"{number:04}" for number in range(200 - len(texts), 200)]
    assert not mirrored.append(said("y" * 40_000), 64 * 1024)
    assert [file.name for file in mirrored.files()] == [OLDER, NEWER]
    assert len([one for one in mirrored.read() if one]) == len(texts)


def test_only_their_owner_reads_the_texts(tmp_path: Path) -> None:
    mirrored = Mirrored(Paths(tmp_path), "garden")
    mirrored.append(said("x"), 1024 * 1024)
    assert stat.S_IMODE(os.stat(mirrored.files()[1]).st_mode) == 0o600
    assert stat.S_IMODE(os.stat(mirrored.folder).st_mode) == 0o700


def test_half_a_line_of_a_killed_process_spoils_no_other(tmp_path: Path) -> None:
    mirrored = Mirrored(Paths(tmp_path), "garden")
    mirrored.append(said("a"), 1024 * 1024)
    with mirrored.files()[1].open("ab") as file:
        file.write(b'{"at": "2026')
    mirrored.append(said("b"), 1024 * 1024)
    assert [one.live.text if one else None for one in mirrored.read()] == ["a", None, "b"]


def test_an_allowance_gives_its_rate_in_the_long_run_and_a_few_seconds_at_once() -> None:
    allowance = Allowance(0.0)
    taken = [allowance.take(120, now / 10) for now in range(600)]
    assert sum(taken) == pytest.approx(120, abs=2)
    burst = [allowance.take(120, 1000.0) for _ in range(50)]
    assert sum(burst) == 10
    assert not Allowance(0.0, left=0.5).take(1, 0.1)
