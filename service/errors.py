"""Errors of the service: each knows its HTTP status and OpenAI's type and code."""

from typing import Any, ClassVar

from adapters.errors import NotGated
from indexer.errors import BadInput, DslmError, NotFound

# When another service, or this one started again, is worth asking.
STOPPING_SECONDS = 5.0
LONGEST_MESSAGE = 1000
LONGEST_PARAM = 200


class ServiceError(DslmError):
    """An error with a status; `retry_after` (seconds) becomes the Retry-After header."""

    status: ClassVar[int] = 500
    type: ClassVar[str] = "server_error"
    code: ClassVar[str | None] = None

    def __init__(
        self,
        message: str,
        remedy: str = "",
        *,
        param: str | None = None,
        retry_after: float | None = None,
    ) -> None:
        super().__init__(message, remedy)
        self.param = param
        self.retry_after = retry_after


class InvalidRequest(ServiceError):
    """The body is malformed, or asks for what this domain cannot do."""

    status = 400
    type = "invalid_request_error"


class UnknownField(InvalidRequest):
    """A field that neither OpenAI's API nor this service has."""

    code = "unknown_parameter"


class Unsupported(InvalidRequest):
    """A field or a value that OpenAI's API has and this service cannot honour."""

    code = "unsupported_parameter"


class ContextLengthExceeded(InvalidRequest):
    """The question alone does not fit the context."""

    code = "context_length_exceeded"


class TooLarge(InvalidRequest):
    """The body exceeds what the service reads."""

    status = 413


class HeadTooLarge(InvalidRequest):
    """The head of a request exceeds what the service reads."""

    status = 431


class UnsupportedMedia(InvalidRequest):
    """The body is of a kind that is not read."""

    status = 415
    code = "unsupported_media_type"


class TooManyFailures(InvalidRequest):
    """Too many API keys of this address were wrong."""

    status = 429
    code = "too_many_failures"


class TooSlow(InvalidRequest):
    """The body came too slowly."""

    status = 408
    code = "request_timeout"


class AlreadyThere(InvalidRequest):
    """`If-None-Match: *` was sent and there is something."""

    status = 412
    code = "already_there"


class Conflict(InvalidRequest):
    """Something else is under way that this would disturb."""

    status = 409
    code = "conflict"


class UnknownName(InvalidRequest):
    """No domain, release, job or document of that name."""

    status = 404
    code = "not_found"


class UnknownDomain(UnknownName):
    """The `model` of a request names nothing that is served."""

    code = "model_not_found"


class Unauthorized(InvalidRequest):
    """No API key, or one that is unknown, expired or revoked."""

    status = 401
    code = "invalid_api_key"


class Forbidden(InvalidRequest):
    """The API key does not reach this far."""

    status = 403
    code = "insufficient_permissions"


class Overloaded(ServiceError):
    """More answers in flight than the service admits."""

    status = 429
    type = "rate_limit_error"
    code = "overloaded"


class TooManyRequests(Overloaded):
    """The key's requests per minute are used up."""

    type = "requests"
    code = "rate_limit_exceeded"


class TooManyTokens(TooManyRequests):
    """The key's tokens per minute are used up."""

    type = "tokens"


class Unavailable(ServiceError):
    """The engine or the domain cannot answer now, but will."""

    status = 503
    code = "engine_unavailable"


class Stopping(Unavailable):
    """The service has been told to stop, and begins nothing new."""

    code = "stopping"

    def __init__(self) -> None:
        super().__init__("The service is stopping", "Try again", retry_after=STOPPING_SECONDS)


class OutOfSpace(ServiceError):
    """The disk is full; nothing that was there has changed."""

    status = 507
    code = "insufficient_storage"


class EngineTimeout(ServiceError):
    """The engine was silent for too long."""

    status = 504
    code = "engine_timeout"


class EngineRejected(ServiceError):
    """The engine refused the request; its status and message are passed on."""

    def __init__(self, status: int, message: str, param: str | None = None) -> None:
        super().__init__(message, param=param)
        self.engine_status = status


class AdapterUnfit(EngineRejected):
    """The engine has loaded an adapter that does nothing there, or not what it was trained to."""

    def __init__(self, message: str, remedy: str) -> None:
        super().__init__(400, f"{message}. {remedy}" if remedy else message)


def status_of(error: DslmError) -> int:
    """The HTTP status of any error of the product."""
    if isinstance(error, EngineRejected):
        return error.engine_status if 400 <= error.engine_status < 500 else 502
    if isinstance(error, ServiceError):
        return error.status
    if isinstance(error, NotFound):
        return 404
    if isinstance(error, NotGated):
        return 409
    return 400 if isinstance(error, BadInput) else 500


def envelope(error: DslmError) -> dict[str, Any]:
    """OpenAI's error envelope. What a client sent is not sent back at any length."""
    status = status_of(error)
    param: str | None = getattr(error, "param", None)
    kind = "invalid_request_error" if status < 500 else "server_error"
    kind = error.type if isinstance(error, ServiceError) and status == error.status else kind
    return {
        "error": {
            "message": _short(str(error), LONGEST_MESSAGE),
            "type": kind,
            "param": param and _short(param, LONGEST_PARAM),
            "code": getattr(error, "code", None),
        }
    }


def _short(text: str, most: int) -> str:
    return text if len(text) <= most else f"{text[: most - 3]}..."
