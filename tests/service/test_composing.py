"""What the engine is sent suits the template of its base: no role it refuses, no thinking aloud."""

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from adapters.pins import EmbedderPin
from adapters.release import Release
from eval.families.shapes import SHAPES
from eval.families.tiny import build
from indexer.domain import EmbedderSettings, RetrievalSettings
from indexer.records import Demonstration
from service.answer.checks import Checks
from service.answer.composing import Composer
from service.answer.request import ChatRequest
from service.answer.retrieval import Found
from service.answer.tokens import TokenCounter

ASKED = {"model": "kitchen", "messages": [{"role": "user", "content": "Where is the plum?"}]}
SOLVED = Demonstration("d1", "Where is the pear?", "In room 1.", "")
RELEASE = Release(
    domain="kitchen",
    number=1,
    snapshot="s",
    embedder=EmbedderPin(settings=EmbedderSettings(), fingerprint="hash/1"),
    adapter=None,
    prompt_format="sentences",
    retrieval=RetrievalSettings(),
    mode="generate",
    system="Be brief.",
    refusal="Not said.",
    fallback="none",
    max_tokens=64,
    base=None,
    parent=None,
    created=datetime.now(UTC),
)


def composer(family: str, folder: Path) -> Composer:
    (shape,) = (shape for shape in SHAPES if shape.name == family)
    tokens = TokenCounter(str(build(shape, folder)))
    return Composer(tokens, 512, Checks(tokens, 512))


@pytest.mark.parametrize(
    ("family", "wanted"),
    [
        ("Gemma 2", ["Be brief.\n\nWhere is the pear?", "In room 1.", "Where is the plum?"]),
        ("Llama 3.x", ["Be brief.", "Where is the pear?", "In room 1.", "Where is the plum?"]),
    ],
)
def test_a_base_without_a_system_role_gets_the_text_before_the_first_question(
    tmp_path: Path, family: str, wanted: list[str]
) -> None:
    found = Found(demonstrations=(SOLVED,))
    request = ChatRequest.model_validate(ASKED)
    _, messages = composer(family, tmp_path).compose(request, RELEASE, found)
    assert [message["content"] for message in messages] == wanted
    assert (messages[0]["role"] == "system") == (family == "Llama 3.x")


@pytest.mark.parametrize(
    ("family", "given", "wanted"),
    [
        ("Qwen 3", None, {"enable_thinking": False}),
        ("Qwen 3", {"enable_thinking": True}, {"enable_thinking": True}),
        ("Qwen 3", {"other": 1}, {"enable_thinking": False, "other": 1}),
        ("Llama 3.x", None, None),
    ],
)
def test_a_base_that_thinks_aloud_is_told_not_to_unless_a_caller_says_otherwise(
    tmp_path: Path, family: str, given: dict[str, Any] | None, wanted: dict[str, Any] | None
) -> None:
    payload = {"chat_template_kwargs": given} if given else {}
    told = composer(family, tmp_path).told(payload)
    assert told.get("chat_template_kwargs") == wanted
    assert payload == ({"chat_template_kwargs": given} if given else {}), "the caller's is kept"
