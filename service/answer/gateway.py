"""One question, from the request to the answer: the path that every request takes."""

import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from typing import Any, TypeVar

from service.answer import local
from service.answer.affinity import affinity
from service.answer.checks import check_greedy, refuse_what_the_base_cannot
from service.answer.completion import CompletionRequest
from service.answer.conclusion import Conclusion
from service.answer.payload import Asked, adapter_for, payload_of
from service.answer.plan import Plan
from service.answer.planning import Planner
from service.answer.relay import Relay
from service.answer.releases import OpenRelease, Releases
from service.answer.request import ChatRequest
from service.engines.engine import CHAT, COMPLETIONS, Engine
from service.engines.pool import EnginePool, Lease
from service.errors import EngineRejected, Unavailable, Unsupported

T = TypeVar("T")
STREAMED = {"stream": True, "stream_options": {"include_usage": True}}


class Gateway:
    """Has an answer planned, then lets the engine write it, or gives the plan's own."""

    def __init__(self, releases: Releases, planners: Mapping[str, Planner]) -> None:
        """`planners`: one for each base, by its name."""
        self._releases = releases
        self._planners = planners

    def serves(self, name: str) -> bool:
        """Is this a base, or a domain?"""
        return name in self._planners or name in self._releases.domains

    def adapter_of(self, request: Asked) -> str | None:
        """What the engine will have to hold for this; UnknownDomain if there is no such name."""
        name, at, _ = request.model.partition("@")
        if name in self._planners:
            return None
        self._releases.domain(name)
        live = self._releases.answering(name, lambda: affinity(request))
        if not request.dslm.adapter or live is None:
            return None
        if at:
            return request.model
        return live.adapter.digest if live.adapter else None

    async def plan(self, request: Asked) -> Plan:
        """Decide everything before the engine is asked; `finish` must follow."""
        check_greedy(request)
        if bare := self._planners.get(request.model):
            refuse_what_the_base_cannot(request)
            bare.refuse_what_its_engines_cannot(request)
            bare.pool.require_ready()
            return self._bare(request, bare.pool)
        opened = await self._releases.acquire(request.model, lambda: affinity(request))
        try:
            planner = self._planners[opened.pool.name]
            planner.refuse_what_its_engines_cannot(request)
            if isinstance(request, CompletionRequest):
                return self._completion(request, opened)
            return await planner.plan(request, opened)
        except BaseException:
            self._releases.release(opened)
            raise

    async def plan_again(self, failed: Plan) -> Plan:
        """Decide anew after the engine failed before it had said anything: if it is gone, and the
        domain allows that, by quoting. `failed` is finished once there is another plan."""
        tried = failed.tried
        if failed.lease:
            tried = (*tried, failed.lease.unit)
            await failed.lease.unit.supervisor.look()
        plan = await self.plan(failed.request)
        plan.tried = tried
        self.finish(failed)
        return plan

    def finish(self, plan: Plan) -> None:
        """Give back what the plan holds; after the last byte, however that came."""
        if plan.stream:
            plan.stream.close()
        if plan.lease:
            plan.pool.finish(plan.lease)
        if plan.opened:
            self._releases.release(plan.opened)

    async def answer(self, plan: Plan) -> dict[str, Any]:
        """The whole answer as one chat completion."""
        if plan.local:
            choices = plan.request.n or 1
            reply = local.completion(plan.request.model, plan.local, choices)
            return {**reply, "dslm": plan.describe({"refused": plan.local.refused})}
        plan.asked = time.perf_counter()
        _, said = await self._asked(plan, lambda engine: engine.chat(plan.payload, plan.path))
        reply = local.tidy(said)
        reply["model"] = plan.request.model
        plan.usage = reply.get("usage") or {}
        if plan.path == CHAT:
            return Conclusion(plan).whole(reply)
        return reply if not plan.opened else {**reply, "dslm": plan.describe({})}

    async def stream(self, plan: Plan) -> Callable[[], AsyncIterator[bytes]]:
        """Server-sent events. The engine has accepted the request once this returns."""
        request = plan.request
        if plan.local:
            about = plan.describe({"refused": plan.local.refused})
            whole = local.stream(
                request.model, plan.local, about, request.n or 1, request.wants_usage()
            )
            return lambda: _once(whole)
        plan.asked = time.perf_counter()
        lease, stream = await self._asked(
            plan, lambda engine: engine.open({**plan.payload, **STREAMED}, plan.path)
        )
        plan.stream = stream
        conclusion = Conclusion(plan)
        plan.relay = Relay(
            stream,
            lease.called,
            request.model,
            conclusion.follow if plan.path == CHAT else None,
            conclusion.choice,
            show_usage=request.wants_usage(),
            has_logprobs=bool(request.logprobs),
            ends_with_usage=request.dslm.explain,
            choices=request.n or 1,
        )
        return plan.relay.body

    async def _asked(self, plan: Plan, ask: Callable[[Engine], Awaitable[T]]) -> tuple[Lease, T]:
        """What an engine says. One that has lost the adapter while it lived is given it again."""
        for _ in range(2):
            lease = await self._engaged(plan)
            try:
                return lease, await ask(lease.unit.engine)
            except EngineRejected as error:
                if not lease.is_forgotten(error):
                    raise
                plan.lease = None
                plan.pool.forget(lease)
        raise Unavailable("The engine loses its adapters", "See its log", retry_after=5)

    @staticmethod
    async def _engaged(plan: Plan) -> Lease:
        """An engine for this plan, and whom it is to ask there."""
        plan.lease = await plan.pool.lease(
            plan.held, plan.domain if plan.opened else None, plan.tried
        )
        plan.payload["model"] = plan.lease.called
        return plan.lease

    @staticmethod
    def _bare(request: Asked, pool: EnginePool) -> Plan:
        """As it came, to the base or to an adapter."""
        path = CHAT if isinstance(request, ChatRequest) else COMPLETIONS
        payload = payload_of(request, pool.base.context)
        return Plan(request, "generate", pool, path, payload=payload)

    def _completion(self, request: CompletionRequest, opened: OpenRelease) -> Plan:
        """A domain's adapter goes on with a text: no template, no passages, no demonstrations."""
        if request.dslm.mode not in (None, "generate"):
            message = f"A completion cannot have the answer mode `{request.dslm.mode}`"
            raise Unsupported(message, "Ask /v1/chat/completions", param="dslm.mode")
        request.check_bare()
        opened.pool.require_ready()
        plan = self._bare(request, opened.pool)
        plan.opened, plan.held = opened, adapter_for(request, opened)
        return plan


async def _once(whole: bytes) -> AsyncIterator[bytes]:
    yield whole
