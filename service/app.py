"""The ASGI application: routes, errors and the service's life."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import Response
from starlette.exceptions import HTTPException

from indexer.errors import DslmError
from service.api.chat import chat_routes
from service.api.documents import document_routes
from service.api.domains import domain_routes
from service.api.jobs import job_routes
from service.api.limits import Admission
from service.api.releases import release_routes
from service.api.status import status_routes
from service.api.wire import error_response
from service.bootstrap import Service
from service.errors import InvalidRequest, ServiceError, UnknownName


def create_app(service: Service, admission: Admission | None = None) -> FastAPI:
    """The application around a built service, which starts and stops with it."""

    @asynccontextmanager
    async def life(_: FastAPI) -> AsyncIterator[None]:
        async with service.running():
            yield

    app = FastAPI(title="dslm", lifespan=life, docs_url=None, redoc_url=None)
    admission = admission or Admission(service.settings.max_concurrent, service.telemetry)
    app.include_router(chat_routes(service.gateway, admission, service.telemetry))
    app.include_router(domain_routes(service.releases, service.supervisor))
    app.include_router(release_routes(service.releases))
    app.include_router(document_routes(service.releases, service.documents, service.settings))
    app.include_router(job_routes(service.releases, service.jobs))
    app.include_router(status_routes(service))
    app.add_exception_handler(DslmError, _ours)
    app.add_exception_handler(HTTPException, _starlettes)
    app.add_exception_handler(RequestValidationError, _fastapis)
    app.add_exception_handler(Exception, _unexpected)
    return app


async def _ours(_: Request, error: Exception) -> Response:
    assert isinstance(error, DslmError)
    return error_response(error)


async def _starlettes(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    message = f"{request.method} {request.url.path}: {error.detail}"
    wrapped = UnknownName(message) if error.status_code == 404 else InvalidRequest(message)
    response = error_response(wrapped)
    response.status_code = error.status_code
    response.headers.update(error.headers or {})
    return response


async def _fastapis(_: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)
    first = error.errors()[0]
    name = str(first["loc"][-1])
    return error_response(InvalidRequest(f"'{name}': {first['msg']}", param=name))


async def _unexpected(_: Request, error: Exception) -> Response:
    """The traceback goes to the log; the client learns only that it is our fault."""
    return error_response(ServiceError("The service failed", "See its log"))
