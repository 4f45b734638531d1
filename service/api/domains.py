"""Domains: what is served, with which adapter."""

from typing import Annotated, Any

from fastapi import APIRouter, Request
from fastapi.responses import Response
from pydantic import Field

from service.answer.body import Body
from service.answer.changing import ReleaseChanges
from service.answer.releases import Releases
from service.api.auth import caller_of, cause_of, visible
from service.api.openapi import described
from service.api.releases import describe
from service.api.schemas import DomainCard, DomainList, ReleaseCard
from service.api.wire import Json, parse


class AdapterChange(Body):
    """PUT /v1/domains/{domain}/adapter: `name@version`, `name`, or null for none."""

    adapter: Annotated[str, Field(min_length=1)] | None


def domain_routes(releases: Releases) -> APIRouter:
    """What is served, and its adapter."""
    router = APIRouter()
    changes = ReleaseChanges(releases)

    @router.get("/v1/domains", openapi_extra=described(DomainList))
    async def list_domains(request: Request) -> Response:
        names = visible(caller_of(request), releases.domains)
        cards = [await _card(releases, name) for name in names]
        return Json({"object": "list", "data": cards})

    @router.get("/v1/domains/{domain}", openapi_extra=described(DomainCard, errors=(404,)))
    async def show_domain(domain: str) -> Response:
        return Json(await _card(releases, domain))

    said = described(ReleaseCard, body=AdapterChange, errors=(404, 409))

    @router.put("/v1/domains/{domain}/adapter", openapi_extra=said)
    async def set_adapter(domain: str, request: Request) -> Response:
        change = await parse(request, AdapterChange)
        made = await changes.set_adapter(domain, change.adapter, cause_of(request))
        return Json(describe(made))

    return router


async def _card(releases: Releases, name: str) -> dict[str, Any]:
    domain = releases.domain(name)
    live = releases.live().get(name)
    return {
        "id": name,
        "object": "domain",
        "title": domain.title,
        "mode": live.mode if live else domain.answer.mode,
        "release": describe(live) if live else None,
    }
