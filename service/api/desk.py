"""Takes a request through admission and the gateway, and has it recorded how it went."""

from collections.abc import AsyncIterator, Awaitable, Callable
from time import perf_counter
from typing import Any, Protocol

from fastapi import Request
from fastapi.responses import Response

from indexer.errors import DslmError
from service.answer.completion import CompletionRequest
from service.answer.gateway import Gateway
from service.answer.mirror import Mirrors
from service.answer.plan import Plan
from service.answer.request import ChatRequest
from service.answered import AnswerNotes
from service.api.auth import caller_of
from service.api.events import GONE, EventStream, unless_gone
from service.api.ledger import UNKNOWN, Entry, Ledger
from service.api.limits import Admission, Leave
from service.api.places import expected_tokens
from service.api.wire import Json
from service.errors import Unavailable, status_of
from service.phases import phase

Question = ChatRequest | CompletionRequest


class Close(Protocol):
    """Runs once, at the end; `reply`: the answer, where it was not streamed."""

    def __call__(self, status: int, reply: dict[str, Any] | None = None) -> None: ...


class Desk:
    """The path of everything that an engine may answer: chats and legacy completions."""

    def __init__(
        self,
        gateway: Gateway,
        admission: Admission,
        mirrors: Mirrors,
        ledger: Ledger,
        notes: AnswerNotes,
    ) -> None:
        self._gateway = gateway
        self._admission = admission
        self._mirrors = mirrors
        self._ledger = ledger
        self._notes = notes

    async def serve(self, request: Request, body: Question) -> Response:
        """One request; whatever happens, what it holds is given back."""
        entry = self._ledger.open(request, body)
        try:
            with phase("admission"):
                leave = await self._admitted(request, body)
            if leave is None:
                self._refused(entry, body, GONE)
                return Response(status_code=GONE)
            try:
                plan = await self._gateway.plan(body)
            except BaseException:
                leave({})
                raise
        except BaseException as error:
            self._refused(entry, body, status_of(error) if isinstance(error, DslmError) else 500)
            raise
        if plan.opened:
            entry.lease(plan.domain)

        def close(status: int, reply: dict[str, Any] | None = None) -> None:
            self._gateway.finish(plan)
            leave(plan.spent())
            entry.end(plan, status)
            if status == 200:
                took = perf_counter() - entry.clock.began
                self._mirrors.offer(plan, reply, took)
                self._notes.note(plan, reply, took, caller_of(request).id)

        async def again() -> Plan:
            nonlocal plan
            plan = await self._gateway.plan_again(plan)
            return plan

        return await self._answer(request, plan, again, entry, close)

    async def _admitted(
        self, request: Request, body: Question
    ) -> Callable[[dict[str, int]], None] | None:
        """A place and an account; None if the client left while it waited."""
        domain = body.model.partition("@")[0]
        caller = caller_of(request)
        caller.check_chat(domain)
        adapter = self._gateway.adapter_of(body)
        size = int(request.headers.get("content-length") or 0)
        tokens = expected_tokens(size, body.limit(), body.n or 1)
        reserved = caller.reserve(body.limit() or 0)
        try:
            place = self._admission.at_once(domain, caller.id, adapter, tokens)
            if place is None:
                waiting = self._admission.permit(domain, caller.id, adapter, tokens)
                place = await unless_gone(request, waiting, lambda late: late())
        except BaseException:
            caller.settle(reserved, {})
            raise
        if place is None:
            caller.settle(reserved, {})
            return None
        held: Leave = place

        def leave(spent: dict[str, int]) -> None:
            held()
            caller.settle(reserved, spent)

        return leave

    async def _asked(
        self, plan: Plan, again: Callable[[], Awaitable[Plan]], entry: Entry
    ) -> dict[str, Any] | Callable[[], AsyncIterator[bytes]]:
        """The engine's answer, or its begin: until then nothing has been sent, so once more."""
        ask = self._gateway.stream if plan.request.stream else self._gateway.answer
        if plan.local:
            return await ask(plan)
        entry.ask_engine()
        with phase("engine"):
            try:
                return await ask(plan)
            except Unavailable:
                return await ask(await again())

    async def _answer(
        self,
        request: Request,
        plan: Plan,
        again: Callable[[], Awaitable[Plan]],
        entry: Entry,
        close: Close,
    ) -> Response:
        """`close` runs exactly once, with the status that the client saw (499: it had left)."""
        try:
            reply = await unless_gone(request, self._asked(plan, again, entry))
        except BaseException as error:
            close(status_of(error) if isinstance(error, DslmError) else 500)
            raise
        if reply is None:
            close(GONE)
            return Response(status_code=GONE)
        if callable(reply):
            return EventStream(reply, close, entry.clock)
        close(200, reply)
        return Json(reply)

    def _refused(self, entry: Entry, body: Question, status: int) -> None:
        """Unknown names are counted together: a label per guess would never stop growing."""
        name = body.model.partition("@")[0]
        entry.refuse(name if self._gateway.serves(name) else UNKNOWN, status)
