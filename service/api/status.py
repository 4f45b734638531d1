"""Models, health, readiness and metrics."""

from typing import Any

from fastapi import APIRouter, Request
from fastapi.responses import Response
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest

from service.api.auth import caller_of
from service.api.observed import observe
from service.api.openai_schemas import ModelList, ServedModel
from service.api.openapi import described
from service.api.schemas import Health, Readiness
from service.api.wire import Json
from service.bootstrap import Service
from service.errors import UnknownDomain


def status_routes(service: Service) -> APIRouter:
    """What clients and orchestrators look at."""
    router = APIRouter()

    @router.get("/v1/models", openapi_extra=described(ModelList))
    async def list_models(request: Request) -> Response:
        caller, known = caller_of(request), _models(service)
        cards = [card for name, card in known.items() if caller.may_chat(name)]
        return Json({"object": "list", "data": cards})

    @router.get("/v1/models/{model}", openapi_extra=described(ServedModel, errors=(404,)))
    async def show_model(model: str, request: Request) -> Response:
        found = _models(service).get(model)
        if found is None or not caller_of(request).may_chat(model):
            raise UnknownDomain(f"There is no model '{model}'", "See /v1/models", param="model")
        return Json(found)

    health_said = described(Health, also={503: Health}, is_open=True)

    @router.get("/health", openapi_extra=health_said)
    async def health() -> Response:
        alive = not service.engines.failed
        said = {pool.name: pool.describe() for pool in service.engines}
        body = {"status": "ok" if alive else "failed", "engines": said}
        return Json(body, 200 if alive else 503)

    ready_said = described(Readiness, errors=(503,), is_open=True)

    @router.get("/ready", openapi_extra=ready_said)
    async def ready() -> Response:
        service.engines.require_ready()
        live = {name: release.number for name, release in service.releases.live().items()}
        missing = [name for name in service.releases.domains if name not in live]
        done = service.provisioned.is_set()
        body = {"ready": done, "releases": live, "without_release": missing}
        return Json(body, 200 if done else 503, None if done else {"Retry-After": "5"})

    @router.get("/metrics", openapi_extra=described("text/plain"))
    async def metrics() -> Response:
        observe(service)
        content = generate_latest(service.telemetry.registry)
        return Response(content, media_type=CONTENT_TYPE_LATEST)

    return router


def _models(service: Service) -> dict[str, dict[str, Any]]:
    bases = [_model(name, 0, None) for name in service.bases]
    live = service.releases.live()
    domains = [
        _model(name, int(live[name].created.timestamp()), domain.base)
        for name, domain in service.releases.domains.items()
        if name in live
    ]
    return {card["id"]: card for card in (*bases, *domains)}


def _model(name: str, created: int, parent: str | None) -> dict[str, Any]:
    return {
        "id": name,
        "object": "model",
        "created": created,
        "owned_by": "dslm",
        "parent": parent,
    }
