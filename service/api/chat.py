"""POST /v1/chat/completions."""

from fastapi import APIRouter, Request
from fastapi.responses import Response

from service.answer.request import ChatRequest
from service.api.desk import Desk
from service.api.openai_schemas import ChatChunk, ChatCompletion
from service.api.openapi import ASKED, described
from service.api.wire import parse


def chat_routes(desk: Desk) -> APIRouter:
    """The chat endpoint."""
    router = APIRouter()

    said = described(ChatCompletion, body=ChatRequest, events=ChatChunk, errors=ASKED)

    @router.post("/v1/chat/completions", openapi_extra=said)
    async def create_chat_completion(request: Request) -> Response:
        return await desk.serve(request, await parse(request, ChatRequest))

    return router
