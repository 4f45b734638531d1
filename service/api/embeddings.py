"""POST /v1/embeddings: texts to vectors, with the embedding model of a domain."""

from fastapi import APIRouter, Request
from fastapi.responses import Response

from service.answer.vectors import EmbeddingRequest, TextEmbeddings
from service.api.auth import caller_of
from service.api.events import GONE, unless_gone
from service.api.openai_schemas import EmbeddingList
from service.api.openapi import described
from service.api.wire import Json, parse


def embedding_routes(embeddings: TextEmbeddings) -> APIRouter:
    """The embeddings endpoint."""
    router = APIRouter()

    said = described(EmbeddingList, body=EmbeddingRequest, errors=(404,))

    @router.post("/v1/embeddings", openapi_extra=said)
    async def create_embedding(request: Request) -> Response:
        body = await parse(request, EmbeddingRequest)
        caller = caller_of(request)
        domains = embeddings.domains_of(body.model)
        caller.check_chat(*(domains or [body.model.partition("@")[0]]))
        reserved = caller.reserve(0)
        try:
            reply = await unless_gone(request, embeddings.answer(body))
        except BaseException:
            caller.settle(reserved, {})
            raise
        if reply is None:
            caller.settle(reserved, {})
            return Response(status_code=GONE)
        caller.settle(reserved, reply["usage"])
        return Json(reply)

    return router
