"""The ASGI application: routes, errors and the service's life."""

import asyncio
import functools
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import Response
from starlette.exceptions import HTTPException
from starlette.middleware.cors import CORSMiddleware

from indexer.errors import DslmError
from service.answer.mirror import Mirrors
from service.answer.vectors import TextEmbeddings
from service.api.auth import Gate
from service.api.chat import chat_routes
from service.api.completions import completion_routes
from service.api.desk import Desk
from service.api.documents import document_routes
from service.api.domains import domain_routes
from service.api.draining import Drain, Draining
from service.api.embeddings import embedding_routes
from service.api.feedback import feedback_routes
from service.api.hosts import Hosts
from service.api.jobs import job_routes
from service.api.ledger import Ledger
from service.api.limits import Admission
from service.api.openapi import document
from service.api.places import limits_of
from service.api.releases import release_routes
from service.api.security import Origins, SafeHeaders
from service.api.status import status_routes
from service.api.unbroken import Unbroken
from service.api.wire import error_response
from service.bootstrap import Service
from service.errors import InvalidRequest, ServiceError, UnknownName
from service.keys import KeyFile, KeyRing, is_loopback
from service.settings import ServiceSettings

if TYPE_CHECKING:
    from service.tracing import Tracer


def create_app(
    service: Service, admission: Admission | None = None, drain: Drain | None = None
) -> FastAPI:
    """The application around a built service, which starts and stops with it."""

    @asynccontextmanager
    async def life(_: FastAPI) -> AsyncIterator[None]:
        async with service.running():
            try:
                yield
            finally:
                await mirrors.close()
        if tracer is not None:
            await asyncio.to_thread(tracer.close)

    app = FastAPI(
        title="dslm", lifespan=life, docs_url=None, redoc_url=None, redirect_slashes=False
    )
    admission = admission or Admission(limits_of(service.settings), service.telemetry)
    tracer, settings = _tracer(service.settings), service.settings
    ledger = Ledger(
        service.telemetry,
        tracer,
        log_requests=settings.log_requests,
        log_texts=settings.log_texts,
    )
    mirrors = Mirrors(service.releases, service.gateway, admission.at_once, service.telemetry)
    desk = Desk(service.gateway, admission, mirrors, ledger, service.notes)
    app.include_router(chat_routes(desk))
    app.include_router(completion_routes(desk))
    app.include_router(embedding_routes(TextEmbeddings(service.releases, service.embedders)))
    app.include_router(domain_routes(service.releases))
    app.include_router(release_routes(service.releases))
    app.include_router(feedback_routes(service.releases, service.notes, service.telemetry))
    app.include_router(document_routes(service.releases, service.documents, service.settings))
    app.include_router(job_routes(service.releases, service.jobs))
    app.include_router(status_routes(service))
    _guard(app, service.settings, drain or Drain())
    app.openapi = functools.partial(document, app)  # type: ignore[method-assign]
    app.add_exception_handler(DslmError, _ours)
    app.add_exception_handler(HTTPException, _starlettes)
    app.add_exception_handler(RequestValidationError, _fastapis)
    app.add_exception_handler(Exception, _unexpected)
    return app


def _tracer(settings: ServiceSettings) -> "Tracer | None":
    """OpenTelemetry is imported only where somebody wants traces."""
    if settings.otlp_endpoint is None:
        return None
    from service.tracing import Tracer

    return Tracer(settings.otlp_endpoint, settings.trace_share)


def _guard(app: FastAPI, settings: ServiceSettings, drain: Drain) -> None:
    """What every request passes, the last one first."""
    origins = tuple(settings.cors_origins.split())
    app.add_middleware(
        Gate,
        ring=KeyRing(KeyFile(settings.store, settings.keys)),
        hosts=Hosts(settings.allowed_hosts, local_only=is_loopback(settings.host)),
        open_without_keys=is_loopback(settings.host) or settings.allow_open,
        open_metrics=settings.open_metrics,
    )
    app.add_middleware(Draining, drain=drain)
    if origins:
        app.add_middleware(
            CORSMiddleware,
            allow_origins=origins,
            allow_methods=["GET", "POST", "PUT", "PATCH", "DELETE"],
            allow_headers=["Authorization", "Content-Type"],
            expose_headers=["x-request-id", "Retry-After"],
        )
    app.add_middleware(Origins, allowed=origins)
    app.add_middleware(Unbroken)
    app.add_middleware(SafeHeaders)


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
