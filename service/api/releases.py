"""Releases of a domain: made, compared, activated, tried on a part of the requests."""

import asyncio
from typing import Annotated, Any

from fastapi import APIRouter, Query, Request
from fastapi.responses import Response

from adapters.audit import describe as describe_entry
from adapters.gating import reasoned
from adapters.parts import difference
from adapters.release import Release
from adapters.traffic import Canary, Mirror, Traffic
from service.answer.beside import Part
from service.answer.changing import (
    Activation,
    CanaryWish,
    MirrorWish,
    NewRelease,
    Reason,
    ReleaseChanges,
)
from service.answer.releases import Releases
from service.api.auth import cause_of, require_admin
from service.api.openapi import described
from service.api.schemas import Audit, Difference, ReleaseCard, ReleaseList, TrafficCard
from service.api.wire import Json, parse
from service.errors import UnknownName

RELEASE = described(ReleaseCard, errors=(404,))
CHANGED = described(ReleaseCard, body=Reason, body_required=False, errors=(404, 409))
ACTIVATED = described(ReleaseCard, body=Activation, body_required=False, errors=(404, 409))
TRAFFIC = described(TrafficCard, errors=(404, 409))


def release_routes(releases: Releases) -> APIRouter:
    """What has answered, what answers, and what comes next."""
    router = APIRouter()
    _reading(router, releases)
    _changing(router, ReleaseChanges(releases))
    _trying(router, ReleaseChanges(releases), releases)
    return router


def _reading(router: APIRouter, releases: Releases) -> None:
    @router.get(
        "/v1/domains/{domain}/releases", openapi_extra=described(ReleaseList, errors=(404,))
    )
    async def list_releases(domain: str) -> Response:
        releases.domain(domain)
        found = await asyncio.to_thread(releases.store.list, domain)
        return Json({"object": "list", "data": [describe(release) for release in found]})

    @router.get("/v1/domains/{domain}/releases/{number}", openapi_extra=RELEASE)
    async def show_release(domain: str, number: int) -> Response:
        releases.domain(domain)
        return Json(describe(await asyncio.to_thread(releases.store.get, domain, number)))

    @router.get(
        "/v1/domains/{domain}/releases/{number}/diff",
        openapi_extra=described(Difference, errors=(404,)),
    )
    async def compare(domain: str, number: int, against: int | None = None) -> Response:
        """From `against`, the live release where it is not given, to this one."""
        releases.domain(domain)
        new = await asyncio.to_thread(releases.store.get, domain, number)
        old = await asyncio.to_thread(_other, releases, domain, against)
        changes = {name: {"from": a, "to": b} for name, (a, b) in difference(old, new).items()}
        about = {"object": "release.diff", "from": old.number, "to": new.number}
        return Json({**about, "changes": changes})

    @router.get("/v1/domains/{domain}/traffic", openapi_extra=TRAFFIC)
    async def show_traffic(domain: str) -> Response:
        releases.domain(domain)
        return Json(await _traffic(releases, domain))

    @router.get("/v1/domains/{domain}/audit", openapi_extra=described(Audit, errors=(404,)))
    async def show_audit(
        domain: str, request: Request, limit: Annotated[int, Query(ge=1, le=1000)] = 100
    ) -> Response:
        """The last changes, newest last; names of keys and users stand in it."""
        require_admin(request, domain)
        releases.domain(domain)
        entries, broken = await asyncio.to_thread(releases.store.audit(domain).read)
        shown = [describe_entry(entry) for entry in entries[-limit:]]
        has_more = len(entries) > limit
        return Json({"object": "list", "data": shown, "has_more": has_more, "unreadable": broken})


def _changing(router: APIRouter, changes: ReleaseChanges) -> None:
    created = described(ReleaseCard, status=201, body=NewRelease, errors=(404, 409))

    @router.post("/v1/domains/{domain}/releases", openapi_extra=created)
    async def create(domain: str, request: Request) -> Response:
        wanted = await parse(request, NewRelease)
        made = await changes.create(domain, wanted, cause_of(request, wanted.why or wanted.note))
        return Json(describe(made), 201)

    @router.post("/v1/domains/{domain}/releases/{number}/activate", openapi_extra=ACTIVATED)
    async def activate(domain: str, number: int, request: Request) -> Response:
        wanted = await _activation(request)
        cause = cause_of(request, wanted.why)
        made = await changes.activate(domain, number, cause, forced=wanted.force)
        return Json(describe(made))

    @router.post("/v1/domains/{domain}/rollback", openapi_extra=CHANGED)
    async def roll_back(domain: str, request: Request) -> Response:
        cause = cause_of(request, (await _reason(request)).why)
        return Json(describe(await changes.rollback(domain, cause)))


def _trying(router: APIRouter, changes: ReleaseChanges, releases: Releases) -> None:
    async def check(domain: str, number: int) -> None:
        """An adapter is to be in the engine before anybody is sent to it."""
        releases.domain(domain)
        if (await asyncio.to_thread(releases.store.get, domain, number)).adapter:
            releases.opening.require_ready(domain)

    canary = described(TrafficCard, body=CanaryWish, errors=(404, 409))
    mirror = described(TrafficCard, body=MirrorWish, errors=(404, 409))

    @router.put("/v1/domains/{domain}/canary", openapi_extra=canary)
    async def set_canary(domain: str, request: Request) -> Response:
        wanted = await parse(request, CanaryWish)
        await check(domain, wanted.release)
        await changes.set_canary(domain, wanted, cause_of(request, wanted.why))
        return Json(await _traffic(releases, domain))

    @router.post("/v1/domains/{domain}/canary/promote", openapi_extra=ACTIVATED)
    async def promote(domain: str, request: Request) -> Response:
        wanted = await _activation(request)
        cause = cause_of(request, wanted.why)
        return Json(describe(await changes.promote(domain, cause, forced=wanted.force)))

    @router.put("/v1/domains/{domain}/mirror", openapi_extra=mirror)
    async def set_mirror(domain: str, request: Request) -> Response:
        wanted = await parse(request, MirrorWish)
        await check(domain, wanted.release)
        await changes.set_mirror(domain, wanted, cause_of(request, wanted.why))
        return Json(await _traffic(releases, domain))

    @router.delete("/v1/domains/{domain}/canary", openapi_extra=TRAFFIC)
    async def drop_canary(domain: str, request: Request, why: str = "") -> Response:
        await changes.end(domain, "canary", cause_of(request, why))
        return Json(await _traffic(releases, domain))

    @router.delete("/v1/domains/{domain}/mirror", openapi_extra=TRAFFIC)
    async def end_mirror(domain: str, request: Request, why: str = "") -> Response:
        await changes.end(domain, "mirror", cause_of(request, why))
        return Json(await _traffic(releases, domain))


def describe(release: Release) -> dict[str, Any]:
    """A release as the API shows it."""
    return {"object": "release", **release.model_dump(mode="json")}


def _other(releases: Releases, domain: str, number: int | None) -> Release:
    found = releases.store.live(domain) if number is None else releases.store.get(domain, number)
    if found is None:
        raise UnknownName(f"The domain '{domain}' has no live release", "Send `against`")
    return found


async def _traffic(releases: Releases, domain: str) -> dict[str, Any]:
    """Who gets what; `refusal`: why this process sends nothing to it, null where it does."""
    traffic: Traffic = await asyncio.to_thread(releases.store.traffic, domain)
    live = releases.live().get(domain)

    def part(name: Part, wanted: Canary | Mirror | None) -> dict[str, Any] | None:
        if wanted is None:
            return None
        return {**wanted.model_dump(), "refusal": releases.beside.refusal(domain, name) or None}

    return {
        "object": "traffic",
        "domain": domain,
        "live": live.number if live else None,
        "canary": part("canary", traffic.canary),
        "mirror": part("mirror", traffic.mirror),
    }


async def _reason(request: Request) -> Reason:
    return await parse(request, Reason) if _has_body(request) else Reason()


async def _activation(request: Request) -> Activation:
    wanted = await parse(request, Activation) if _has_body(request) else Activation()
    reasoned(wanted.force, wanted.why)
    return wanted


def _has_body(request: Request) -> bool:
    """A body may be left out."""
    length = request.headers.get("content-length", "0")
    return length != "0" or "transfer-encoding" in request.headers
