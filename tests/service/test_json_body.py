"""Bodies are read one way only; whatever else is a 4xx that says what is wrong."""

import json
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel, ValidationError

from service.answer.completion import CompletionRequest
from service.answer.request import ChatRequest
from service.answer.vectors import EmbeddingRequest
from service.api.json_body import DEEPEST_JSON, check_kind, read_json
from service.api.wire import explain
from service.errors import InvalidRequest, ServiceError, UnsupportedMedia, status_of

texts = st.text(st.characters(exclude_categories=["Cs"]))
# With colons wherever they could be mistaken for those between a name and its value.
tricky = st.text(st.sampled_from('a:"\\u003\n'))
scalars = st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | texts | tricky
values = st.recursive(
    scalars | st.floats(allow_nan=False, allow_infinity=False),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(texts | tricky, inner, max_size=4),
    max_leaves=20,
)


def refusal(schema: type[BaseModel] | None, raw: bytes) -> ServiceError | None:
    """What a client is told about this body, if anything."""
    body = None
    try:
        body = read_json(raw)
        if schema:
            schema.model_validate(body)
    except ValidationError as error:
        return explain(error, body)
    except ServiceError as error:
        return error
    return None


@given(values, st.booleans())
def test_json_is_read_as_it_was_meant_however_it_was_written(value: Any, escaped: bool) -> None:
    written = json.dumps(value, ensure_ascii=escaped, indent=1 if escaped else None)
    if escaped:
        written = written.replace("\\n", "\\u000a")
    assert read_json(written.encode()) == orjson.loads(written)


@given(st.binary(max_size=200) | values.map(orjson.dumps).map(lambda raw: raw[:-1] + b"\xff"))
def test_whatever_comes_is_json_or_an_error_of_the_client(raw: bytes) -> None:
    error = refusal(None, raw)
    assert error is None or status_of(error) == 400


@given(st.dictionaries(texts | tricky, values, min_size=1, max_size=5), st.data(), st.booleans())
def test_a_name_that_stands_twice_is_refused_wherever_it_stands(
    fields: dict[str, Any], more: st.DataObject, hidden: bool
) -> None:
    """Also where an escaped colon makes up for the one that is lost."""
    name = more.draw(st.sampled_from(sorted(fields)))
    filler = '"x":"\\u003a\\u003A",' if hidden and "x" not in fields else ""
    again = f"{json.dumps(name)}:{json.dumps(more.draw(values))}"
    twice = f"{{{filler}{again},{json.dumps(fields)[1:-1]}}}"
    for text in (twice, f'[{{"a":{twice}}}]'):
        with pytest.raises(InvalidRequest, match="stands twice"):
            read_json(text.encode())


BAD = {
    "nothing": b"",
    "a mark of byte order": b"\xef\xbb\xbf{}",
    "UTF-16": '{"a": 1}'.encode("utf-16"),
    "a lone surrogate": b'{"a": "\\ud800"}',
    "a surrogate in bytes": b'{"a": "\xed\xa0\x80"}',
    "an overlong sign": b'{"a": "\xc0\xaf"}',
    "not a number": b'{"a": NaN}',
    "no end": b'{"a": -Infinity}',
    "beyond a double": b'{"a": 1e400}',
    "many digits": b'{"a": 1' + b"0" * 5000 + b"}",
    "a comment": b"{} // no",
    "a comma too many": b'{"a": 1,}',
    "single quotes": b"{'a': 1}",
    "two documents": b"{}{}",
    "a NUL": b'{"a": "\x00"}',
    "too deep": b"[" * (DEEPEST_JSON + 2) + b"]" * (DEEPEST_JSON + 2),
    "far too deep": b'{"a":' * 100_000,
}


@pytest.mark.parametrize("raw", BAD.values(), ids=BAD)
def test_what_is_no_json_is_a_400(raw: bytes) -> None:
    with pytest.raises(InvalidRequest) as refused:
        read_json(raw)
    assert status_of(refused.value) == 400


KINDS = [
    ({}, True),
    ({"content-type": "application/json"}, True),
    ({"content-type": 'Application/JSON; charset="UTF-8"'}, True),
    ({"content-type": "application/merge-patch+json"}, True),
    ({"content-encoding": "identity"}, True),
    ({"content-type": "text/plain"}, False),
    ({"content-type": "application/x-www-form-urlencoded"}, False),
    ({"content-type": "application/json; charset=latin-1"}, False),
    ({"content-type": ""}, False),
    ({"content-encoding": "gzip"}, False),
    ({"content-encoding": "br, gzip"}, False),
]


@pytest.mark.parametrize(("headers", "fits"), KINDS, ids=str)
def test_only_plain_json_in_utf8_is_read(headers: dict[str, str], fits: bool) -> None:
    if fits:
        check_kind(headers)
        return
    with pytest.raises(UnsupportedMedia) as refused:
        check_kind(headers)
    assert status_of(refused.value) == 415


SCHEMAS = (ChatRequest, CompletionRequest, EmbeddingRequest)
FIELDS = sorted({name for schema in SCHEMAS for name in schema.model_fields} | {"functions", "x"})
bodies = st.dictionaries(st.sampled_from(FIELDS), values, max_size=6)
nearly = st.fixed_dictionaries(
    {"model": st.just("garden") | values},
    optional={
        "messages": st.lists(
            st.fixed_dictionaries(
                {"role": st.sampled_from(["user", "tool", "assistant", "x"]), "content": values},
                optional={"tool_calls": values, "name": values},
            ),
            max_size=3,
        ),
        "tools": st.lists(st.fixed_dictionaries({"type": st.just("function"), "function": values})),
        "tool_choice": values | st.just("required"),
        "response_format": values,
        "prompt": values,
        "input": values,
        "dslm": values,
        "stop": values,
        "logit_bias": values,
    },
)


@given(st.sampled_from(SCHEMAS), bodies | nearly | values)
def test_any_body_is_a_request_or_an_error_of_the_client_that_names_a_field(
    schema: Any, body: Any
) -> None:
    error = refusal(schema, orjson.dumps(body))
    assert error is None or status_of(error) == 400
