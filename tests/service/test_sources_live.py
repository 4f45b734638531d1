"""What real vLLM writes, checked and explained: streamed and whole alike."""

from typing import Any

import orjson
import pytest

from tests.live import LiveService

pytestmark = pytest.mark.vllm
QUESTION = "How many named users does a TareKeeper Site licence allow?"


def events(body: str) -> list[dict[str, Any]]:
    return [orjson.loads(line[6:]) for line in body.splitlines() if line.startswith("data: {")]


@pytest.mark.parametrize("mode", ["generate", "verbatim"])
def test_a_stream_cites_and_counts_as_the_whole_answer_does(live: LiveService, mode: str) -> None:
    how: dict[str, Any] = {"dslm": {"mode": mode, "explain": True}}
    whole = live.chat("legal", QUESTION, **how).json()
    parts = events(live.chat("legal", QUESTION, stream=True, **how).text)
    text = "".join(c["delta"].get("content") or "" for part in parts for c in part["choices"])
    assert text == whole["choices"][0]["message"]["content"]
    last = parts[-1]
    notes = last["choices"][0]["delta"]["annotations"]
    assert notes == whole["choices"][0]["message"]["annotations"]
    told = last["dslm"]["explain"]
    assert told["tokens"]["completion"] == whole["usage"]["completion_tokens"] > 0
    assert told["tokens"]["prompt"] <= told["tokens"]["composed"]
    assert told["messages"] == whole["dslm"]["explain"]["messages"]


def test_several_choices_are_concluded_once_and_each_is_cited(live: LiveService) -> None:
    how: dict[str, Any] = {"n": 2, "temperature": 1.0, "seed": 1, "stream": True}
    parts = events(live.chat("support", "How long does a descaling cycle take?", **how).text)
    ends = [c for part in parts for c in part["choices"] if c["finish_reason"]]
    assert sorted(end["index"] for end in ends) == [0, 1]
    assert all("annotations" in end["delta"] for end in ends)
    assert ["dslm" in part for part in parts].count(True) == 1
    assert "dslm" in parts[-1]
