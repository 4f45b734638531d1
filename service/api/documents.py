"""Documents of a domain: upload, list, read, delete."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Annotated, Any

from fastapi import APIRouter, Query, Request
from fastapi.responses import Response

from service.answer.releases import Releases
from service.api.openapi import BYTES, FORM, described
from service.api.pages import page
from service.api.receiving import Form, Patience, check_length, receive
from service.api.schemas import Deleted, DocumentCard, DocumentPage, DocumentText, Uploaded
from service.api.wire import Json
from service.documents import Documents, Listed, Snapshot, State
from service.errors import InvalidRequest, Overloaded, Unavailable, UnknownName
from service.incoming import Incoming, UploadLimits
from service.settings import ServiceSettings
from service.uploads import PREFIX, Upload

UPLOADS_AT_ONCE = 8
MAX_LISTED = 1000


def document_routes(
    releases: Releases, documents: Documents, settings: ServiceSettings
) -> APIRouter:
    """What is known, and how it is changed."""
    router = APIRouter()
    desk = UploadDesk(documents, settings)

    upload_said = described(Uploaded, body=FORM, errors=(404, 409, 507))

    @router.post("/v1/domains/{domain}/documents", openapi_extra=upload_said)
    async def upload(domain: str, request: Request) -> Response:
        releases.domain(domain)
        taken = await desk.take_form(domain, request)
        if not taken:
            raise InvalidRequest("The form holds no file", "Send one: curl -F file=@notes.md")
        return Json({"object": "list", "data": [_card(upload) for upload in taken]})

    put_said = described(DocumentCard, body=BYTES, errors=(404, 409, 412, 507))

    @router.put("/v1/domains/{domain}/documents/{path:path}", openapi_extra=put_said)
    async def put(domain: str, path: str, request: Request) -> Response:
        releases.domain(domain)
        return Json(_card(await desk.take_one(domain, path, request)))

    list_said = described(DocumentPage, errors=(404,))

    @router.get("/v1/domains/{domain}/documents", openapi_extra=list_said)
    async def list_documents(
        domain: str,
        after: str = "",
        limit: Annotated[int, Query(ge=1, le=MAX_LISTED)] = 100,
        state: State | None = None,
    ) -> Response:
        async with _live(releases, domain) as live:
            found = await asyncio.to_thread(documents.page, domain, live, after, limit + 1, state)
        return Json(page([one.describe() for one in found], limit))

    show_said = described(DocumentText, errors=(404,))

    @router.get("/v1/domains/{domain}/documents/{path:path}", openapi_extra=show_said)
    async def show_document(domain: str, path: str) -> Response:
        async with releases.lease(domain) as opened:
            document = await asyncio.to_thread(opened.retriever.document, path)
        name = opened.release.domain  # without the number of a release that was asked for
        if document is None or documents.is_hidden(name, path, document.id):
            raise UnknownName(f"The domain '{domain}' has no document '{path}'")
        return Json({"path": document.path, "title": document.title, "text": document.text})

    delete_said = described(Deleted, errors=(404, 409))

    @router.delete("/v1/domains/{domain}/documents/{path:path}", openapi_extra=delete_said)
    async def delete(domain: str, path: str) -> Response:
        async with _live(releases, domain) as live:
            await asyncio.to_thread(documents.delete, domain, path, live)
        return Json({"id": path, "object": "document", "deleted": True})

    return router


class UploadDesk:
    """Takes uploads in, a few at a time: what has not come whole leaves nothing behind."""

    def __init__(self, documents: Documents, settings: ServiceSettings) -> None:
        self._documents = documents
        self._limits = UploadLimits.of(settings)
        self._seconds = settings.upload_seconds
        self._under_way = 0

    async def take_form(self, domain: str, request: Request) -> list[Upload]:
        """Every file of a multipart form, or none."""
        patience = Patience(self._limits.request, self._seconds)
        check_length(request, patience.most_bytes)
        async with self._incoming(domain, request) as incoming:
            form = Form(request.headers.get("content-type", ""), incoming)
            await receive(request, form.feed, patience)
            form.finish()
            return await asyncio.to_thread(incoming.publish)

    async def take_one(self, domain: str, path: str, request: Request) -> Upload:
        """The body is the document."""
        if not path.startswith(PREFIX):
            raise InvalidRequest(f"'{path}' is not below {PREFIX}", f"Put it to {PREFIX}{path}")
        patience = Patience(self._limits.file, self._seconds)
        check_length(request, patience.most_bytes)
        replace = request.headers.get("if-none-match", "").strip() != "*"
        async with self._incoming(domain, request) as incoming:
            await asyncio.to_thread(incoming.begin, path.removeprefix(PREFIX))
            await receive(request, incoming.write, patience)
            await asyncio.to_thread(incoming.end)
            [upload] = await asyncio.to_thread(incoming.publish, replace)
            return upload

    @asynccontextmanager
    async def _incoming(self, domain: str, request: Request) -> AsyncIterator[Incoming]:
        if self._under_way >= UPLOADS_AT_ONCE:
            raise Overloaded(
                f"{UPLOADS_AT_ONCE} uploads are under way", "Try again shortly", retry_after=1
            )
        self._under_way += 1
        try:
            uploads = self._documents.uploads(domain)
            announced = request.headers.get("content-length", "")
            needed = int(announced) if announced.isdigit() else 0
            incoming = await asyncio.to_thread(Incoming, uploads, self._limits, needed)
            try:
                yield incoming
            finally:
                await asyncio.shield(asyncio.to_thread(incoming.abandon))
        finally:
            self._under_way -= 1


@asynccontextmanager
async def _live(releases: Releases, domain: str) -> AsyncIterator[Snapshot | None]:
    """What answers now; None before the first index. UnknownDomain for `domain@3` too."""
    releases.domain(domain)
    try:
        opened = await releases.acquire(domain)
    except Unavailable:
        yield None
        return
    try:
        yield opened.retriever.snapshot
    finally:
        releases.release(opened)


def _card(upload: Upload) -> dict[str, Any]:
    seconds = upload.mtime_ns // 10**9
    return Listed(upload.path, "pending", upload.size, seconds, 0, uploaded=True).describe()
