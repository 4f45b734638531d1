"""POST /v1/completions: OpenAI's legacy way, a text to go on with."""

from fastapi import APIRouter, Request
from fastapi.responses import Response

from service.answer.completion import CompletionRequest
from service.api.desk import Desk
from service.api.openai_schemas import TextChunk, TextCompletion
from service.api.openapi import ASKED, described
from service.api.wire import parse


def completion_routes(desk: Desk) -> APIRouter:
    """The completions endpoint."""
    router = APIRouter()

    said = described(TextCompletion, body=CompletionRequest, events=TextChunk, errors=ASKED)

    @router.post("/v1/completions", openapi_extra=said)
    async def create_completion(request: Request) -> Response:
        return await desk.serve(request, await parse(request, CompletionRequest))

    return router
