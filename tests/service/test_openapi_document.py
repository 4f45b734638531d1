"""The service's OpenAPI document says what every route takes and answers, and it is true."""

from typing import Any

import jsonschema
import pytest

from tests.service.product import Product


@pytest.fixture(scope="module")
def document(shared_product: Product) -> Any:
    response = shared_product.get("/openapi.json")
    assert response.status_code == 200
    return response.json()


def operations(document: Any) -> list[tuple[str, Any]]:
    return [
        (f"{method.upper()} {path}", operation)
        for path, methods in document["paths"].items()
        for method, operation in methods.items()
    ]


def test_every_route_says_what_it_answers(document: Any) -> None:
    silent = [
        name
        for name, operation in operations(document)
        if "'Said'" in str(operation["responses"]).replace("#/components/schemas/Said'", "'Said'")
    ]
    assert silent == [], "give the route `openapi_extra=described(...)`"


def test_every_route_that_may_take_a_body_says_which(document: Any) -> None:
    """Those that take none are named here: whoever adds one decides."""
    bare = ("/activate", "/rollback", "/cancel")
    takes = ("POST", "PUT", "PATCH")
    missing = [
        name
        for name, operation in operations(document)
        if name.startswith(takes) and not name.endswith(bare) and "requestBody" not in operation
    ]
    assert missing == []


def test_every_error_has_openais_envelope(document: Any) -> None:
    envelope = {"$ref": "#/components/schemas/ErrorAnswer"}
    for name, operation in operations(document):
        for status, answer in operation["responses"].items():
            if status >= "4" and (name, status) != ("GET /health", "503"):
                assert answer["content"] == {"application/json": {"schema": envelope}}, name


def test_what_may_be_streamed_says_so(document: Any) -> None:
    for path in ("/v1/chat/completions", "/v1/completions"):
        content = document["paths"][path]["post"]["responses"]["200"]["content"]
        assert set(content) == {"application/json", "text/event-stream"}


def test_every_reference_leads_somewhere_and_every_schema_is_one(document: Any) -> None:
    schemas = document["components"]["schemas"]
    named = {part.partition("'")[0] for part in str(document).split("#/components/schemas/")[1:]}
    assert named <= set(schemas)
    for schema in schemas.values():
        jsonschema.Draft202012Validator.check_schema(schema)
