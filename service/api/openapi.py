"""The service's OpenAPI document: what every route takes, and every status that it answers with.

FastAPI knows paths and parameters only, since bodies are read by our own parser. A route says the
rest beside its code, by `openapi_extra=described(...)`; `document` puts both together.
"""

from collections.abc import Mapping
from typing import Any, Final

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi
from pydantic import BaseModel

from service.api.openai_schemas import ErrorAnswer, Said

OURS: Final = "x-dslm"
COMPONENTS: Final = "#/components/schemas/"
JSON: Final = "application/json"
EVENTS: Final = "text/event-stream"
FORM: Final = "multipart/form-data"
BYTES: Final = "application/octet-stream"
# Of any route: a page or a host that is not allowed. And where a key may be asked for.
ANYWHERE: Final = (400, 403)
KEYED: Final = (401, 429, 503)
WITH_BODY: Final = (408, 413)
ASKED: Final = (404, 502, 504)  # of what an engine answers
MEANINGS: Final[Mapping[int, str]] = {
    400: "What is wrong with the request, and where",
    401: "An API key is needed, or this one is not valid",
    403: "The key does not reach this far, or the host or the web page is not allowed",
    404: "There is nothing of this name",
    408: "The body came too slowly",
    409: "Something else is under way that this would disturb",
    412: "There is a document of this name already",
    413: "The body is too large",
    415: "The body is of a kind that is not read",
    429: "Overloaded, or the key's quota is used up; with Retry-After",
    502: "The engine answered with what cannot be passed on",
    503: "The engine or the domain cannot answer now, but will",
    504: "The engine was silent for too long",
    507: "The disk is full",
}

Described = dict[str, Any]


def described(
    answer: type[BaseModel] | str,
    *,
    status: int = 200,
    also: Mapping[int, type[BaseModel]] | None = None,
    errors: tuple[int, ...] = (),
    body: type[BaseModel] | str | None = None,
    body_required: bool = True,
    events: type[BaseModel] | None = None,
    is_open: bool = False,
) -> Described:
    """What a route says of itself. `answer` and `body`: JSON of that schema, or a media type.

    `also`: answers with other statuses; `events`: the answer may be a stream of these instead.
    """
    content = _content(answer)
    if events is not None:
        content[EVENTS] = {"schema": _schema(events)}
    said: dict[str, Any] = {str(status): {"description": "Done", "content": content}}
    for code, schema in (also or {}).items():
        said[str(code)] = {"description": "Done", "content": _content(schema)}
    usual = ANYWHERE + (() if is_open else KEYED) + (WITH_BODY if body else ())
    usual += (415,) if isinstance(body, type) else ()
    for code in sorted({*usual, *errors} - {int(known) for known in said}):
        said[str(code)] = {"description": MEANINGS[code], "content": _content(ErrorAnswer)}
    found: Described = {"responses": said}
    if body is not None:
        found["requestBody"] = {"required": body_required, "content": _content(body, "validation")}
    return {OURS: found}


def document(app: FastAPI) -> dict[str, Any]:
    """The whole document. Raises ValueError if two schemas would have one name."""
    if app.openapi_schema is not None:
        return app.openapi_schema
    found = get_openapi(title=app.title, version=app.version, routes=app.routes)
    found["info"]["description"] = "OpenAI's API over domain specialists, and the care of them."
    for path in found["paths"].values():
        for operation in path.values():
            operation.update(operation.pop(OURS, None) or described(Said, errors=(404, 409))[OURS])
            operation["responses"].pop("422", None)  # ours are 400
    components: dict[str, Any] = {}
    _hoist(found["paths"], components)
    scheme = {"type": "http", "scheme": "bearer", "description": "As `dslm keys add` prints it"}
    found["components"] = {"schemas": components, "securitySchemes": {"key": scheme}}
    found["security"] = [{"key": []}, {}]
    app.openapi_schema = found
    return found


def _content(what: type[BaseModel] | str, mode: str = "serialization") -> dict[str, Any]:
    if what == FORM:
        file = {"type": "string", "format": "binary"}
        form = {"type": "object", "properties": {"file": file}, "required": ["file"]}
        return {FORM: {"schema": {**form, "additionalProperties": file}}}
    if isinstance(what, str):
        text = what.startswith("text/")
        return {what: {"schema": {"type": "string", **({} if text else {"format": "binary"})}}}
    return {JSON: {"schema": _schema(what, mode)}}


def _schema(schema: type[BaseModel], mode: str = "serialization") -> dict[str, Any]:
    """A reference; the schema itself comes along under `$defs`, from where it is hoisted."""
    assert mode in ("validation", "serialization")
    whole = schema.model_json_schema(ref_template=COMPONENTS + "{model}", mode=mode)  # type: ignore[arg-type]
    inner = whole.pop("$defs", {})
    return {
        "$ref": COMPONENTS + schema.__name__,
        "$defs": {**inner, schema.__name__: whole},
    }


def _hoist(node: Any, components: dict[str, Any]) -> None:
    if isinstance(node, dict):
        for name, schema in node.pop("$defs", {}).items():
            if components.setdefault(name, schema) != schema:
                raise ValueError(f"Two schemas of the OpenAPI document are called {name}")
        for value in node.values():
            _hoist(value, components)
    elif isinstance(node, list):
        for value in node:
            _hoist(value, components)
