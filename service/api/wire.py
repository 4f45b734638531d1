"""Bodies in, errors out: what all routes share at the edge."""

import asyncio
from typing import TypeVar

import orjson
from fastapi import Request
from fastapi.responses import Response
from pydantic import BaseModel, ValidationError
from starlette.requests import ClientDisconnect

from indexer.errors import DslmError
from service.api.json_body import check_kind, read_json
from service.errors import (
    InvalidRequest,
    ServiceError,
    TooLarge,
    TooSlow,
    UnknownField,
    envelope,
    status_of,
)

Schema = TypeVar("Schema", bound=BaseModel)
LARGEST_BODY = 16 * 1024 * 1024
SLOWEST_BODY = 60


class Json(Response):
    """A JSON response, written by orjson."""

    media_type = "application/json"

    def render(self, content: object) -> bytes:
        return orjson.dumps(content)


async def parse(request: Request, schema: type[Schema]) -> Schema:
    """The body as `schema`. InvalidRequest names the field, its value and what is expected."""
    check_kind(request.headers)
    body = read_json(await _read(request))
    try:
        return schema.model_validate(body)
    except ValidationError as error:
        raise explain(error, body) from error


def explain(error: ValidationError, body: object = None) -> InvalidRequest:
    """The first thing that is wrong, in one line; of a union, what its nearest member lacks."""
    found = [(_path(body, one["loc"]), one) for one in error.errors(include_url=False)]
    # Of members equally near, the one that the value's type does fit.
    path, first = max(found, key=lambda f: (len(f[0]), not f[1]["type"].endswith("_type")))
    field = _written(path)
    if not field:
        return InvalidRequest("The body is not a JSON object", "Send one")
    if first["type"] == "extra_forbidden":
        return UnknownField(f"Unknown field '{field[:200]}'", "Leave it out", param=field)
    if first["type"] == "missing":
        return InvalidRequest(f"The field '{field}' is missing", "Send it", param=field)
    shown = repr(first["input"])
    shown = shown if len(shown) <= 80 else shown[:77] + "..."
    return InvalidRequest(f"'{field}' = {shown}: {first['msg']}", param=field or None)


def _path(body: object, location: tuple[int | str, ...]) -> list[int | str]:
    """`location` without the names of union members, which are no part of the body."""
    path: list[int | str] = []
    for number, part in enumerate(location):
        if isinstance(body, dict) and part in body:
            body = body[part]
        elif isinstance(body, list) and isinstance(part, int) and part < len(body):
            body = body[part]
        elif not isinstance(body, dict) or number + 1 < len(location):
            continue
        path.append(part)
    return path


def _written(path: list[int | str]) -> str:
    """As OpenAI writes it: `messages[0].content`."""
    parts = (f"[{part}]" if isinstance(part, int) else f".{part}" for part in path)
    return "".join(parts).removeprefix(".")


async def _read(request: Request) -> bytes:
    parts, size = [], 0
    length = request.headers.get("content-length", "")
    if length.isdecimal() and int(length) > LARGEST_BODY:
        raise TooLarge(f"The body exceeds {LARGEST_BODY} bytes", "Send less")
    try:
        async with asyncio.timeout(SLOWEST_BODY):
            async for part in request.stream():
                parts.append(part)
                size += len(part)
                if size > LARGEST_BODY:
                    raise TooLarge(f"The body exceeds {LARGEST_BODY} bytes", "Send less")
    except TimeoutError as error:
        raise TooSlow(f"The body took more than {SLOWEST_BODY} s", "Try again") from error
    except ClientDisconnect as error:
        raise InvalidRequest("The client left before its body ended") from error
    return b"".join(parts)


def error_response(error: DslmError) -> Json:
    """OpenAI's envelope with the right status, and Retry-After where waiting helps."""
    headers = {}
    if isinstance(error, ServiceError) and error.retry_after is not None:
        headers["Retry-After"] = str(max(1, round(error.retry_after)))
    return Json(envelope(error), status_of(error), headers)
