"""How well texts are foreseen is read from the prompt that an endpoint echoes."""

import math
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx
import orjson
import pytest

from eval.client import Client
from eval.perplexity import Foreseen, foresee, perplexity_grid, read_foreseen
from eval.perplexity_command import read_texts
from indexer.errors import BadInput

if TYPE_CHECKING:
    from tests.live import LiveService


def _reply(text: str, each: float) -> dict[str, Any]:
    """A token a letter, then one that is written behind the text."""
    values = [None, *[each] * (len(text) - 1), -9.0]
    logprobs = {"token_logprobs": values, "text_offset": list(range(len(text) + 1))}
    return {"choices": [{"text": f"{text}x", "logprobs": logprobs}]}


class Endpoint:
    """Foresees as its name says, in nats a letter; keeps what it was asked."""

    def __init__(self, nats: dict[str, float]) -> None:
        self.nats = nats
        self.asked: list[dict[str, Any]] = []

    def __call__(self, request: httpx.Request) -> httpx.Response:
        body = orjson.loads(request.content)
        self.asked.append(body)
        if len(body["prompt"]) > 50:
            return httpx.Response(400, json={"error": {"message": "too long"}})
        each = -self.nats[body["model"]] * (1 + len(body["prompt"]) % 3 / 10)
        return httpx.Response(200, json=_reply(body["prompt"], each))


async def _found(endpoint: Endpoint, texts: list[str]) -> dict[str, list[Foreseen]]:
    async with Client("http://x", transport=httpx.MockTransport(endpoint)) as client:
        return await foresee(client, list(endpoint.nats), texts)


def test_all_tokens_of_the_text_count_but_the_first() -> None:
    found = read_foreseen(_reply("häuser", -2.0), "m", "häuser")
    assert found == Foreseen(10.0, 5, 7)
    assert found.bits_per_byte == pytest.approx(10 / math.log(2) / 7)


@pytest.mark.parametrize("told", [None, {}, {"token_logprobs": None, "text_offset": [0]}])
def test_an_endpoint_that_tells_nothing_is_named(told: Any) -> None:
    with pytest.raises(BadInput, match="big tells no log-probabilities"):
        read_foreseen({"choices": [{"logprobs": told}]}, "big", "x")


async def test_of_a_domain_its_adapter_alone_is_asked() -> None:
    endpoint = Endpoint({"base": 1.0, "support": 1.0})
    await _found(endpoint, ["one", "four"])
    assert [one.get("dslm") for one in endpoint.asked] == [
        *[None] * 2,
        *[{"passages": False, "demonstrations": False}] * 2,
    ]
    assert all(one["echo"] and one["logprobs"] == 0 for one in endpoint.asked)


async def test_who_forgot_is_told_surely_and_with_its_interval() -> None:
    texts = [f"a text of {n}" for n in range(40)]
    found = await _found(Endpoint({"base": 1.0, "same": 1.0, "forgot": 1.2}), texts)
    rows = {row[0]: row[1:] for row in perplexity_grid(found, "t").rows}
    assert rows["base"][3:] == ("-", "-", "-")
    assert rows["same"][3] == "+0.0000"
    assert float(rows["same"][5]) == 1.0
    assert float(rows["forgot"][3]) > 0
    assert float(rows["forgot"][4].split()[0]) > 0
    assert float(rows["forgot"][5]) < 0.05


async def test_a_text_that_is_refused_is_named() -> None:
    with pytest.raises(BadInput, match="base was not asked about the text 'yyy"):
        await _found(Endpoint({"base": 1.0}), ["y" * 51])


def test_texts_are_paragraphs_or_fields(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("One.\n\n\n\nTwo\nthree.\n\n", encoding="utf-8")
    (tmp_path / "a.jsonl").write_text('{"q": " One. "}\n{"q": ""}\n', encoding="utf-8")
    assert read_texts(tmp_path / "a.txt", "text") == ["One.", "Two\nthree."]
    assert read_texts(tmp_path / "a.jsonl", "q") == ["One."]
    with pytest.raises(BadInput, match="has no text `text`"):
        read_texts(tmp_path / "a.jsonl", "text")


@pytest.mark.vllm
async def test_the_served_base_foresees_sentences_better_than_their_words_shuffled(
    live: "LiveService",
) -> None:
    said = ["The kettle boils in three minutes.", "You can return the toaster within a month."]
    shuffled = ["minutes The three in boils kettle.", "month toaster a You within the can return."]
    async with Client(live.url) as client:
        found = await foresee(client, ["base", "support"], [*said, *shuffled])
    for told in found.values():
        assert all(one.tokens > 3 for one in told)
        assert told[0].bits_per_byte < told[2].bits_per_byte
        assert told[1].bits_per_byte < told[3].bits_per_byte
    assert found["base"] != found["support"]
