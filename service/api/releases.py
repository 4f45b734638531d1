"""Releases of a domain."""

import asyncio
from typing import Any

from fastapi import APIRouter
from fastapi.responses import Response

from adapters.release import Release
from service.answer.releases import Releases
from service.api.wire import Json


def release_routes(releases: Releases) -> APIRouter:
    """What has answered, what answers, and what comes next."""
    router = APIRouter()

    @router.get("/v1/domains/{domain}/releases")
    async def list_releases(domain: str) -> Response:
        releases.domain(domain)
        found = await asyncio.to_thread(releases.store.list, domain)
        return Json({"object": "list", "data": [describe(release) for release in found]})

    @router.post("/v1/domains/{domain}/releases/{number}/activate")
    async def activate(domain: str, number: int) -> Response:
        return Json(describe(await releases.activate(domain, number)))

    @router.post("/v1/domains/{domain}/rollback")
    async def roll_back(domain: str) -> Response:
        return Json(describe(await releases.rollback(domain)))

    return router


def describe(release: Release) -> dict[str, Any]:
    """A release as the API shows it."""
    return {"object": "release", **release.model_dump(mode="json")}
