"""LiteLLM as a client: as an application calls a model by its name and an address."""

import json
from typing import Any, Literal

import litellm
import openai
import pytest

pytestmark = [
    pytest.mark.vllm,
    # LiteLLM's own: it leaves sessions to the collector, and formats what it has parsed again.
    pytest.mark.filterwarnings("ignore:Pydantic serializer warnings:UserWarning"),
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
    pytest.mark.filterwarnings("ignore::RuntimeWarning"),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]
MESSAGES = [{"role": "user", "content": "How long does a final written warning stay on my file?"}]
TOOL = {
    "type": "function",
    "function": {
        "name": "set_lamp",
        "parameters": {
            "type": "object",
            "properties": {"state": {"enum": ["on", "off"]}},
            "required": ["state"],
        },
    },
}


def options(url: str, **more: Any) -> dict[str, Any]:
    where = {"api_base": url, "api_key": "none", "num_retries": 0}
    return {"model": "openai/legal", "messages": MESSAGES, **where, **more}


def test_a_domain_answers(url: str) -> None:
    answer = litellm.completion(**options(url))
    assert answer.choices[0].message.content.startswith("[")
    assert answer.usage.total_tokens > 0


async def test_a_domain_answers_async(url: str) -> None:
    answer = await litellm.acompletion(**options(url))
    assert answer.choices[0].message.content.startswith("[")


def test_a_stream_says_the_same_as_the_whole_answer(url: str) -> None:
    whole = litellm.completion(**options(url)).choices[0].message.content
    parts = litellm.completion(**options(url, stream=True))
    assert "".join(part.choices[0].delta.content or "" for part in parts) == whole


async def test_a_stream_says_the_same_async(url: str) -> None:
    whole = (await litellm.acompletion(**options(url))).choices[0].message.content
    stream = await litellm.acompletion(**options(url, stream=True))
    said = [part.choices[0].delta.content or "" async for part in stream]
    assert "".join(said) == whole


@pytest.mark.parametrize("choice", ["required", "set_lamp"])
def test_a_tool_that_must_be_called_is(url: str, choice: Literal["required", "set_lamp"]) -> None:
    named = {"type": "function", "function": {"name": "set_lamp"}}
    wanted = named if choice == "set_lamp" else choice
    free = {"dslm": {"mode": "generate"}}
    answer = litellm.completion(
        **options(url, tools=[TOOL], tool_choice=wanted, extra_body=free, parallel_tool_calls=False)
    )
    (call,) = answer.choices[0].message.tool_calls
    assert json.loads(call.function.arguments)["state"] in ("on", "off")


def test_texts_are_embedded(url: str) -> None:
    found = litellm.embedding(
        model="openai/legal", input=["roses", "rye"], api_base=url, api_key="none"
    )
    assert len(found.data) == 2


async def test_texts_are_embedded_async(url: str) -> None:
    found = await litellm.aembedding(
        model="openai/legal", input=["roses"], api_base=url, api_key="none", encoding_format="float"
    )
    assert len(found.data[0]["embedding"]) > 100


def test_an_unknown_domain_is_litellms_own_error(url: str) -> None:
    with pytest.raises(openai.NotFoundError):
        litellm.completion(**options(url, model="openai/nobody"))


def test_a_field_that_is_refused_is_litellms_own_error(url: str) -> None:
    with pytest.raises(openai.BadRequestError, match="temperature"):
        litellm.completion(**options(url, temperature=9))
