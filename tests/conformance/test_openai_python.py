"""openai-python's own conveniences: streaming helpers, parsed answers, tools; plain and async."""

import json
from typing import Any, Literal

import openai
import pytest
from pydantic import BaseModel

pytestmark = pytest.mark.vllm
QUESTION = "How long does a full descaling cycle take?"
MESSAGES: list[Any] = [{"role": "user", "content": QUESTION}]
FREE = {"dslm": {"mode": "generate"}}
ONE = {"parallel_tool_calls": False}  # the base would call on and on
EXPLAINED = {"dslm": {"mode": "generate", "explain": True}}


class Verdict(BaseModel):
    urgent: bool
    level: Literal["low", "high"]


class SetLamp(BaseModel):
    """Switch the lamp."""

    state: Literal["on", "off"]


TOOL: Any = openai.pydantic_function_tool(SetLamp)
NAMED: Any = {"type": "function", "function": {"name": "SetLamp"}}


@pytest.fixture
def client(url: str) -> Any:
    with openai.OpenAI(base_url=url, api_key="none", max_retries=0) as found:
        yield found


@pytest.fixture
async def asynchronous(url: str) -> Any:
    async with openai.AsyncOpenAI(base_url=url, api_key="none", max_retries=0) as found:
        yield found


@pytest.mark.parametrize("model", ["support", "legal", "clinic", "base"])
def test_the_streaming_helper_gathers_the_whole_answer(client: Any, model: str) -> None:
    kinds = set()
    with client.chat.completions.stream(
        model=model,
        messages=MESSAGES,
        max_tokens=40,
        temperature=0,
        stream_options={"include_usage": True},
    ) as stream:
        for event in stream:
            kinds.add(event.type)
        final = stream.get_final_completion()
    whole = client.chat.completions.create(
        model=model, messages=MESSAGES, max_tokens=40, temperature=0
    )
    assert final.choices[0].message.content == whole.choices[0].message.content
    assert final.choices[0].finish_reason == whole.choices[0].finish_reason
    assert {"chunk", "content.delta", "content.done"} <= kinds
    assert final.usage is not None


async def test_the_async_streaming_helper_does_too(asynchronous: Any) -> None:
    async with asynchronous.chat.completions.stream(model="support", messages=MESSAGES) as stream:
        said = [event.delta async for event in stream if event.type == "content.delta"]
        final = await stream.get_final_completion()
    assert "".join(said) == final.choices[0].message.content


@pytest.mark.parametrize("model", ["support", "legal", "base"])
def test_an_answer_is_parsed_into_a_model(client: Any, model: str) -> None:
    more = {"extra_body": FREE} if model != "base" else {}
    answer = client.chat.completions.parse(
        model=model, messages=MESSAGES, response_format=Verdict, max_tokens=60, **more
    )
    assert isinstance(answer.choices[0].message.parsed, Verdict)


def test_a_parsed_answer_streams(client: Any) -> None:
    with client.chat.completions.stream(
        model="support", messages=MESSAGES, response_format=Verdict, extra_body=FREE
    ) as stream:
        done = [event for event in stream if event.type == "content.done"]
    assert isinstance(done[0].parsed, Verdict)


@pytest.mark.parametrize("choice", ["required", NAMED], ids=["required", "named"])
@pytest.mark.parametrize("model", ["support", "base"])
def test_a_tool_that_must_be_called_is_with_arguments_that_fit(
    client: Any, model: str, choice: Any
) -> None:
    more = {"extra_body": FREE} if model != "base" else {}
    answer = client.chat.completions.parse(
        model=model, messages=MESSAGES, tools=[TOOL], tool_choice=choice, **ONE, **more
    )
    (call,) = answer.choices[0].message.tool_calls
    assert isinstance(call.function.parsed_arguments, SetLamp)
    assert not answer.choices[0].message.content


@pytest.mark.parametrize("choice", ["required", NAMED], ids=["required", "named"])
def test_a_call_of_a_tool_streams(client: Any, choice: Any) -> None:
    with client.chat.completions.stream(
        model="support", messages=MESSAGES, tools=[TOOL], tool_choice=choice, extra_body=FREE, **ONE
    ) as stream:
        events = list(stream)
    (done,) = [one for one in events if one.type == "tool_calls.function.arguments.done"]
    assert isinstance(done.parsed_arguments, SetLamp)
    assert (
        "".join(
            one.arguments_delta
            for one in events
            if one.type == "tool_calls.function.arguments.delta"
        )
        == done.arguments
    )


@pytest.mark.parametrize("choice", ["auto", "none", None])
@pytest.mark.parametrize("stream", [False, True])
def test_a_tool_that_may_be_called_leaves_the_answer_what_it_was(
    client: Any, choice: Any, stream: bool
) -> None:
    """The base was taught to call none; passages and their citations stay."""
    given = {} if choice is None else {"tool_choice": choice}
    answer = client.chat.completions.create(
        model="support",
        messages=MESSAGES,
        tools=[TOOL],
        stream=stream,
        extra_body=FREE,
        max_tokens=60,
        **given,
    )
    if stream:
        said = "".join(part.choices[0].delta.content or "" for part in answer if part.choices)
    else:
        said = answer.choices[0].message.content
    assert said


def test_one_call_at_a_time_may_be_asked_for(client: Any) -> None:
    answer = client.chat.completions.create(
        model="base",
        messages=MESSAGES,
        tools=[TOOL],
        tool_choice="required",
        **ONE,
    )
    assert len(answer.choices[0].message.tool_calls) == 1


def test_passages_and_demonstrations_stand_in_the_prompt_of_a_call(client: Any) -> None:
    answer = client.chat.completions.create(
        model="support",
        messages=MESSAGES,
        tools=[TOOL],
        tool_choice="required",
        extra_body=EXPLAINED,
        **ONE,
    )
    about = answer.model_extra["dslm"]["explain"]
    assert about["passages_shown"] > 0
    assert about["demonstrations_shown"] > 0
    assert json.loads(answer.choices[0].message.tool_calls[0].function.arguments)


def test_a_tools_result_is_taken(client: Any) -> None:
    call = {"id": "1", "type": "function", "function": {"name": "SetLamp", "arguments": "{}"}}
    turns = [
        *MESSAGES,
        {"role": "assistant", "content": None, "tool_calls": [call]},
        {"role": "tool", "tool_call_id": "1", "content": "The lamp is on."},
    ]
    answer = client.chat.completions.create(
        model="support", messages=turns, tools=[TOOL], extra_body=FREE, max_tokens=40
    )
    assert answer.choices[0].message.content is not None


@pytest.mark.parametrize("kind", ["json_object", "json_schema"])
def test_json_is_whole_where_its_form_is_bounded(client: Any, kind: str) -> None:
    schema = {"name": "v", "schema": Verdict.model_json_schema()}
    wanted: Any = {"type": kind, **({"json_schema": schema} if kind == "json_schema" else {})}
    answer = client.chat.completions.create(
        model="support", messages=MESSAGES, response_format=wanted, extra_body=FREE, max_tokens=60
    )
    choice = answer.choices[0]
    assert choice.message.content.startswith("{")
    if kind == "json_schema":
        assert choice.finish_reason == "stop"
        assert Verdict.model_validate_json(choice.message.content)


def test_errors_are_the_clients_own(client: Any) -> None:
    with pytest.raises(openai.NotFoundError):
        client.chat.completions.create(model="nobody", messages=MESSAGES)
    with pytest.raises(openai.BadRequestError) as refused:
        client.chat.completions.create(model="support", messages=MESSAGES, temperature=9)
    assert refused.value.param == "temperature"
    with pytest.raises(openai.BadRequestError):
        client.chat.completions.create(
            model="base",
            messages=MESSAGES,
            response_format={
                "type": "json_schema",
                "json_schema": {"name": "x", "schema": {"type": "foo"}},
            },
        )
