"""LangChain's standard integration suite, with `ChatOpenAI` as its users have it.

The suite tests a chat model as much as an API. What asks more of the model than the demonstration
base can is expected to fail here, with the reason; what a form of bounded fields can show of the
same calls is asked of it below. Off by the suite's own switches: pictures, sound and files, since
the base reads text only; messages in Anthropic's form, which OpenAI's API has not; and recordings
of the traffic for replays, since the tests ask the service itself.
"""

from typing import Any, Literal

import pytest
from langchain_core.tools import tool
from langchain_openai import ChatOpenAI, OpenAIEmbeddings
from langchain_tests.integration_tests import ChatModelIntegrationTests
from pydantic import BaseModel, Field, SecretStr

pytestmark = [
    pytest.mark.vllm,
    # Of LangChain itself, where it reads an answer that openai-python has parsed.
    pytest.mark.filterwarnings("ignore:Pydantic serializer warnings:UserWarning"),
    pytest.mark.filterwarnings("ignore:Received a Pydantic BaseModel V1 schema:UserWarning"),
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]
UNTAUGHT = "the demonstration base was taught to call no tools: it cannot choose arguments"
ENDLESS = "the demonstration base does not end a text or number that the schema leaves open"


class TestChatOpenAI(ChatModelIntegrationTests):
    """The suite, as it is."""

    @pytest.fixture(autouse=True)
    def _address(self, url: str) -> None:
        self._url = url

    @property
    def chat_model_class(self) -> type[ChatOpenAI]:
        return ChatOpenAI

    @property
    def chat_model_params(self) -> dict[str, Any]:
        where = {"base_url": self._url, "api_key": "none"}
        return {**where, "model": "base", "temperature": 0, "max_tokens": 48, "stream_usage": True}

    @property
    def model_override_value(self) -> str:
        return "support"

    @property
    def structured_output_kwargs(self) -> dict[str, Any]:
        return {"method": "json_schema"}

    @property
    def supports_json_mode(self) -> bool:
        return True

    @pytest.mark.xfail(reason=UNTAUGHT)
    def test_tool_calling(self, model: Any) -> None:
        super().test_tool_calling(model)

    @pytest.mark.xfail(reason=UNTAUGHT)
    async def test_tool_calling_async(self, model: Any) -> None:
        await super().test_tool_calling_async(model)

    @pytest.mark.xfail(reason=UNTAUGHT)
    def test_bind_runnables_as_tools(self, model: Any) -> None:
        super().test_bind_runnables_as_tools(model)

    @pytest.mark.xfail(reason=ENDLESS)
    def test_tool_choice(self, model: Any) -> None:
        super().test_tool_choice(model)

    @pytest.mark.xfail(reason=UNTAUGHT)
    def test_tool_calling_with_no_arguments(self, model: Any) -> None:
        super().test_tool_calling_with_no_arguments(model)

    @pytest.mark.xfail(reason=UNTAUGHT)
    def test_agent_loop(self, model: Any) -> None:
        super().test_agent_loop(model)

    @pytest.mark.xfail(reason=UNTAUGHT)
    def test_unicode_tool_call_integration(self, model: Any) -> None:
        super().test_unicode_tool_call_integration(model)

    @pytest.mark.xfail(reason=ENDLESS)
    def test_structured_output_optional_param(self, model: Any) -> None:
        super().test_structured_output_optional_param(model)

    @pytest.mark.xfail(reason=ENDLESS)
    def test_json_mode(self, model: Any) -> None:
        super().test_json_mode(model)


QUESTION = "How long does a full descaling cycle take?"


def chat(url: str, **more: Any) -> ChatOpenAI:
    return ChatOpenAI(
        model="support",
        base_url=url,
        api_key=SecretStr("none"),
        temperature=0,
        max_retries=0,
        **more,
    )


class Verdict(BaseModel):
    """Whether it is urgent, and how much."""

    urgent: bool
    level: Literal["low", "high"]


def test_a_domain_fills_a_bounded_form(url: str) -> None:
    asked = chat(url, extra_body={"dslm": {"mode": "generate"}})
    for method in ("json_schema", "function_calling"):
        found = asked.with_structured_output(Verdict, method=method).invoke(QUESTION)
        assert isinstance(found, Verdict)


@tool
def set_lamp(state: Literal["on", "off"]) -> str:
    """Switch the lamp."""
    return f"The lamp is {state}."


@pytest.mark.parametrize("choice", ["any", "set_lamp"])
def test_a_domain_calls_a_tool_that_it_must_call_and_takes_its_result(
    url: str, choice: str
) -> None:
    asked = chat(url, extra_body={"dslm": {"mode": "generate"}})
    must = asked.bind_tools([set_lamp], tool_choice=choice, parallel_tool_calls=False)
    first = must.invoke(QUESTION)
    (call,) = first.tool_calls
    result = set_lamp.invoke(call)
    assert result.content in ("The lamp is on.", "The lamp is off.")
    history: list[Any] = [("user", QUESTION), first, result]
    answer = asked.bind_tools([set_lamp], tool_choice="none").invoke(history)
    assert not answer.tool_calls


def test_langchain_embeds_with_a_domains_model(url: str) -> None:
    embeddings = OpenAIEmbeddings(
        model="legal", base_url=url, api_key=SecretStr("none"), check_embedding_ctx_length=False
    )
    one, other = embeddings.embed_documents(["roses", "rye"])
    assert len(one) == len(other) > 100


class Open(BaseModel):
    """A form with an open field, bounded all the same."""

    word: str = Field(max_length=12)
    number: int = Field(ge=0, le=9)


def test_an_open_field_ends_where_its_schema_bounds_it(url: str) -> None:
    asked = chat(url, extra_body={"dslm": {"mode": "generate"}})
    found = asked.with_structured_output(Open, method="json_schema").invoke(QUESTION)
    assert isinstance(found, Open)
