"""Forms that are too large to be compiled, and those that an engine cannot compile."""

from typing import Any

import pytest

from service.answer.bounds import MOST_BYTES, MOST_PARTS, MOST_PROPERTIES, MOST_REPEATS, check_forms
from service.engines.external import External
from service.engines.forms import form_of
from service.errors import InvalidRequest, Unavailable
from tests.service.fake_engine import FakeEngine, serving
from tests.service.product import Product

TURN = {"role": "user", "content": "Hi"}
TEXT = {"type": "string"}


def fields(count: int) -> dict[str, Any]:
    return {"type": "object", "properties": {f"p{n}": TEXT for n in range(count)}}


def asking(schema: dict[str, Any]) -> dict[str, Any]:
    return {"type": "json_schema", "json_schema": {"name": "a", "schema": schema}}


LARGE: dict[str, Any] = {
    "fields": fields(MOST_PROPERTIES + 1),
    "parts": {"enum": list(range(MOST_PARTS))},
    "characters": {"const": "x" * MOST_BYTES},
    "repeats": {**TEXT, "pattern": f"^[a-z]{{1,{MOST_REPEATS + 1}}}$"},
    "repeats of a name": {"patternProperties": {f"a{{{MOST_REPEATS + 1}}}": TEXT}},
    "many repeats": {**TEXT, "pattern": "a{" + "9" * 5000 + "}"},
}
SMALL: dict[str, Any] = {
    "fields": fields(MOST_PROPERTIES),
    "an enumeration": {"enum": list(range(MOST_PARTS - 2))},
    "repeats": {**TEXT, "pattern": f"^[a-z]{{1,{MOST_REPEATS}}}$"},
    "a name in braces": {**TEXT, "description": "{2024}"},
    "a field called pattern": {"properties": {"pattern": TEXT}},
}


@pytest.mark.parametrize("schema", LARGE.values(), ids=LARGE)
def test_a_form_that_would_take_long_to_compile_is_refused_by_its_field(
    product: Product, schema: dict[str, Any]
) -> None:
    tool = {"type": "function", "function": {"name": "a", "parameters": schema}}
    wishes: dict[str, dict[str, Any]] = {
        "response_format": {"response_format": asking(schema)},
        "tools": {"tools": [tool]},
        "structured_outputs": {"structured_outputs": {"json": schema}},
    }
    for field, wish in wishes.items():
        for model in ("garden", "base"):
            response = product.chat(model, **wish)
            assert response.status_code == 400, response.text
            error = response.json()["error"]
            assert error["param"] == field
            assert "at most" in error["message"]
    bare = {"model": "base", "prompt": "x", **wishes["structured_outputs"]}
    assert product.post("/v1/completions", bare).status_code == 400
    assert product.engine.asked == []


@pytest.mark.parametrize("schema", SMALL.values(), ids=SMALL)
def test_a_form_within_the_bounds_is_passed(schema: dict[str, Any]) -> None:
    check_forms({"response_format": schema})


def test_a_grammar_and_a_regular_expression_are_bounded_too() -> None:
    for name in ("regex", "grammar"):
        with pytest.raises(InvalidRequest, match="repeats"):
            check_forms({"structured_outputs": {name: f"root ::= [a]{{2, {MOST_REPEATS + 1}}}"}})


@pytest.mark.parametrize(
    ("fails", "stream"),
    [("form", False), ("form", True), ("form in the stream", True), ("form after role", True)],
)
def test_a_form_that_a_well_engine_cannot_compile_is_the_requests_fault_and_not_asked_again(
    product: Product, fails: str, stream: bool
) -> None:
    product.engine.fails[:] = [fails]
    response = product.chat(response_format=asking({"$ref": "#"}), stream=stream)
    assert response.status_code == 400, response.text
    error = response.json()["error"]
    assert error["param"] == "response_format"
    assert "recursion" in error["message"]
    assert len(product.engine.asked) == 1
    assert product.engine.fails == []
    assert product.get("/ready").status_code == 200


def test_an_engine_whose_core_has_ended_is_asked_again_also_with_a_form(product: Product) -> None:
    product.engine.fails[:] = ["500"]
    response = product.chat(response_format=asking(fields(1)))
    assert response.status_code == 200
    assert len(product.engine.asked) == 2


def test_a_plain_question_that_fails_is_asked_again(product: Product) -> None:
    product.engine.fails[:] = ["form"]
    assert product.chat().status_code == 200
    assert len(product.engine.asked) == 2


TOOL = {"type": "function", "function": {"name": "a"}}


@pytest.mark.parametrize(
    ("payload", "field"),
    [
        ({}, None),
        ({"response_format": {"type": "text"}}, None),
        ({"response_format": {"type": "json_object"}}, "response_format"),
        ({"structured_outputs": {"choice": ["a"]}}, None),
        ({"structured_outputs": {"grammar": "root ::= "}}, "structured_outputs"),
        ({"tools": [TOOL], "tool_choice": "none"}, None),
        ({"tools": [TOOL]}, "tools"),
    ],
)
def test_which_field_asks_for_a_form(payload: dict[str, Any], field: str | None) -> None:
    assert form_of(payload) == field


async def test_the_failure_of_an_external_model_is_never_taken_for_the_forms() -> None:
    fake = FakeEngine()
    fake.fails[:] = ["form"]
    with serving(fake.app) as url:
        external = External(url, 5, "base", "", "max_tokens")
        try:
            with pytest.raises(Unavailable):
                await external.chat(
                    {"model": "base", "messages": [TURN], "response_format": asking(TEXT)}
                )
        finally:
            await external.close()
