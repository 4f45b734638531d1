"""POST /v1/chat/completions: admit, plan, answer, account."""

import time
from collections.abc import AsyncIterator, Callable

from fastapi import APIRouter, Request
from fastapi.responses import Response

from indexer.errors import DslmError
from service.answer.gateway import Gateway
from service.answer.plan import Plan
from service.answer.request import ChatRequest
from service.api.events import GONE, EventStream, unless_gone
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
        body = await parse(request, ChatRequest)
        began = time.perf_counter()
        leave = self._admit(body)
        try:
            plan = await self._gateway.plan(body)
        except BaseException as error:
            leave()
            self._refused(body, error)
            raise

        def close(status: int) -> None:
            self._gateway.finish(plan)
            leave()
            self._record(plan, status, time.perf_counter() - began)

        return await self._answer(request, plan, began, close)

    async def _answer(
        self, request: Request, plan: Plan, began: float, close: Callable[[int], None]
    ) -> Response:
        """`close` runs exactly once, with the status that the client saw (499: it had left)."""
        asked = self._gateway.stream if plan.request.stream else self._gateway.answer
        try:
            reply = await unless_gone(request, asked(plan))
        except BaseException as error:
            close(status_of(error) if isinstance(error, DslmError) else 500)
            raise
        if reply is None:
            close(GONE)
            return Response(status_code=GONE)
        if callable(reply):
            return EventStream(lambda: self._timed(plan, reply, began), close)
        close(200)
        return Json(reply)

    def _admit(self, body: ChatRequest) -> Callable[[], None]:
        try:
            return self._admission.permit()
        except DslmError as error:
            self._refused(body, error)
            raise

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

    def _refused(self, body: ChatRequest, error: BaseException) -> None:
        """Unknown names are counted together: a label per guess would never stop growing."""
        status = status_of(error) if isinstance(error, DslmError) else 500
        name = body.model.partition("@")[0]
        name = name if self._gateway.serves(name) else "unknown"
        self._telemetry.requests.labels(name, "none", str(status)).inc()

    def _record(self, plan: Plan, status: int, seconds: float) -> None:
        telemetry = self._telemetry
        if status == 200 and plan.relay and not plan.relay.completed:
            status = 502
        telemetry.requests.labels(plan.domain, plan.mode, str(status)).inc()
        telemetry.seconds.labels(plan.domain).observe(seconds)
        usage = (plan.relay.usage if plan.relay else None) or plan.usage
        for kind in ("prompt_tokens", "completion_tokens"):
            telemetry.tokens.labels(plan.domain, kind).inc(usage.get(kind) or 0)
