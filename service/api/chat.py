"""POST /v1/chat/completions: admit, plan, answer, account."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from typing import Any

from fastapi import APIRouter, Request
from fastapi.responses import Response

from indexer.errors import DslmError
from service.answer.gateway import Gateway
from service.answer.plan import Plan
from service.answer.request import ChatRequest
from service.api.events import EventStream, gone
from service.api.limits import Admission
from service.api.wire import Json, parse
from service.errors import status_of
from service.telemetry import Telemetry


def chat_routes(gateway: Gateway, admission: Admission, telemetry: Telemetry) -> APIRouter:
    """The chat endpoint."""
    router = APIRouter()
    desk = ChatDesk(gateway, admission, telemetry)

    @router.post("/v1/chat/completions")
    async def create_chat_completion(request: Request) -> Response:
        return await desk.serve(request)

    return router


class ChatDesk:
    """Takes a request through admission and the gateway, and records how it went."""

    def __init__(self, gateway: Gateway, admission: Admission, telemetry: Telemetry) -> None:
        self._gateway = gateway
        self._admission = admission
        self._telemetry = telemetry

    async def serve(self, request: Request) -> Response:
        """One request; whatever happens, what it holds is given back."""
        leave = self._admission.permit()
        began = time.perf_counter()
        try:
            body = await parse(request, ChatRequest)
            try:
                plan = await self._gateway.plan(body)
            except DslmError as error:
                self._refused(body, error)
                raise
        except BaseException:
            leave()
            raise

        def close(status: int = 200) -> None:
            self._gateway.finish(plan)
            leave()
            self._record(plan, status, time.perf_counter() - began)

        try:
            if body.stream:
                events = await self._gateway.stream(plan)
                return EventStream(lambda: self._timed(plan, events, began), close)
            reply = await self._unless_gone(request, plan)
        except DslmError as error:
            close(status_of(error))
            raise
        except BaseException:
            close(499)
            raise
        close()
        return Json(reply)

    async def _unless_gone(self, request: Request, plan: Plan) -> dict[str, Any]:
        """The whole answer; if the client goes away the engine's connection is closed with it."""
        answering = asyncio.ensure_future(self._gateway.answer(plan))
        leaving = asyncio.ensure_future(gone(request.receive))
        try:
            await asyncio.wait({answering, leaving}, return_when=asyncio.FIRST_COMPLETED)
            if not answering.done():
                raise asyncio.CancelledError
            return answering.result()
        finally:
            answering.cancel()
            leaving.cancel()
            await asyncio.gather(answering, leaving, return_exceptions=True)

    async def _timed(
        self, plan: Plan, events: Callable[[], AsyncIterator[bytes]], began: float
    ) -> AsyncIterator[bytes]:
        first = True
        async for part in events():
            if first:
                took = time.perf_counter() - began
                self._telemetry.first_byte.labels(plan.domain).observe(took)
                first = False
            yield part

    def _refused(self, body: ChatRequest, error: DslmError) -> None:
        """Unknown names are counted together: a label per guess would never stop growing."""
        status = status_of(error)
        name = "unknown" if status == 404 else body.model.partition("@")[0]
        self._telemetry.requests.labels(name, "none", str(status)).inc()

    def _record(self, plan: Plan, status: int, seconds: float) -> None:
        telemetry = self._telemetry
        if plan.relay and not plan.relay.completed:
            status = 502
        telemetry.requests.labels(plan.domain, plan.mode, str(status)).inc()
        telemetry.seconds.labels(plan.domain).observe(seconds)
        usage = (plan.relay.usage if plan.relay else None) or plan.usage
        for kind in ("prompt_tokens", "completion_tokens"):
            telemetry.tokens.labels(plan.domain, kind).inc(usage.get(kind) or 0)
