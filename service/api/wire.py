"""Bodies in, errors out: what all routes share at the edge."""

import asyncio
from typing import TypeVar

import orjson
from fastapi import Request
from fastapi.responses import Response
from pydantic import BaseModel, ValidationError
from starlette.requests import ClientDisconnect

from indexer.errors import DslmError
from service.errors import InvalidRequest, ServiceError, TooLarge, envelope, status_of

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
    body = await _read(request)
    try:
        return schema.model_validate(orjson.loads(body))
    except orjson.JSONDecodeError as error:
        raise InvalidRequest(
            f"The body is not valid JSON: {error}", "Send a JSON object"
        ) from error
    except ValidationError as error:
        raise explain(error) from error


def explain(error: ValidationError) -> InvalidRequest:
    """The first thing that is wrong, in one line."""
    first = error.errors(include_url=False)[0]
    field = ".".join(str(part) for part in first["loc"])
    if first["type"] == "extra_forbidden":
        return InvalidRequest(f"Unknown field '{field}'", "Leave it out", param=field)
    if first["type"] == "missing":
        return InvalidRequest(f"The field '{field}' is missing", "Send it", param=field)
    shown = repr(first["input"])
    shown = shown if len(shown) <= 80 else shown[:77] + "..."
    return InvalidRequest(f"'{field}' = {shown}: {first['msg']}", param=field or None)


async def _read(request: Request) -> bytes:
    parts, size = [], 0
    try:
        async with asyncio.timeout(SLOWEST_BODY):
            async for part in request.stream():
                parts.append(part)
                size += len(part)
                if size > LARGEST_BODY:
                    raise TooLarge(f"The body exceeds {LARGEST_BODY} bytes", "Send less")
    except TimeoutError as error:
        raise InvalidRequest(f"The body took more than {SLOWEST_BODY} s", "Try again") from error
    except ClientDisconnect as error:
        raise InvalidRequest("The client left before its body ended") from error
    return b"".join(parts)


def error_response(error: DslmError) -> Json:
    """OpenAI's envelope with the right status, and Retry-After where waiting helps."""
    headers = {}
    if isinstance(error, ServiceError) and error.retry_after is not None:
        headers["Retry-After"] = str(max(1, round(error.retry_after)))
    return Json(envelope(error), status_of(error), headers)
