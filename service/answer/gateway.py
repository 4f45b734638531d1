"""One question, from the request to the answer: the path that every request takes."""

from collections.abc import AsyncIterator, Callable
from typing import Any

from service.answer import local
from service.answer.checks import check_greedy, refuse_what_the_base_cannot
from service.answer.completion import CompletionRequest
from service.answer.conclusion import Conclusion
from service.answer.payload import Asked, engine_name, payload_of
from service.answer.plan import Plan
from service.answer.planning import Planner
from service.answer.relay import Relay
from service.answer.releases import OpenRelease, Releases
from service.answer.request import ChatRequest
from service.answer.retrieval import Retrieval
from service.answer.tokens import TokenCounter
from service.engines.command import BASE_NAME
from service.engines.engine import CHAT, COMPLETIONS, Engine
from service.engines.supervisor import EngineSupervisor
from service.errors import Unsupported

STREAMED = {"stream": True, "stream_options": {"include_usage": True}}


class Gateway:
    """Has an answer planned, then lets the engine write it, or gives the plan's own."""

    def __init__(
        self,
        releases: Releases,
        retrieval: Retrieval,
        engine: Engine,
        supervisor: EngineSupervisor,
        tokens: TokenCounter,
        context: int,
    ) -> None:
        self._releases = releases
        self._engine = engine
        self._supervisor = supervisor
        self._context = context
        self._planner = Planner(retrieval, tokens, context, supervisor.require_ready)

    def serves(self, name: str) -> bool:
        """Is this the base, or a domain?"""
        return name == BASE_NAME or name in self._releases.domains

    def adapter_of(self, request: Asked) -> str | None:
        """What the engine will have to hold for this; UnknownDomain if there is no such name."""
        name, at, _ = request.model.partition("@")
        if name == BASE_NAME:
            return None
        self._releases.domain(name)
        live = self._releases.live().get(name)
        if not request.dslm.adapter or live is None:
            return None
        if at:
            return request.model
        return live.adapter.digest if live.adapter else None

    async def plan(self, request: Asked) -> Plan:
        """Decide everything before the engine is asked; `finish` must follow."""
        check_greedy(request)
        if isinstance(request, ChatRequest):
            self._planner.checks.refuse_unknown_to_template(request)
        if request.model == BASE_NAME:
            refuse_what_the_base_cannot(request)
            self._supervisor.require_ready()
            return self._bare(request, BASE_NAME)
        opened = await self._releases.acquire(request.model)
        try:
            if isinstance(request, CompletionRequest):
                return self._completion(request, opened)
            return await self._planner.plan(request, opened)
        except BaseException:
            self._releases.release(opened)
            raise

    async def plan_again(self, failed: Plan) -> Plan:
        """Decide anew after the engine failed before it had said anything: if it is gone, and the
        domain allows that, by quoting. `failed` is finished once there is another plan."""
        await self._supervisor.look()
        plan = await self.plan(failed.request)
        self.finish(failed)
        return plan

    def finish(self, plan: Plan) -> None:
        """Give back what the plan holds; after the last byte, however that came."""
        if plan.stream:
            plan.stream.close()
        if plan.opened:
            self._releases.release(plan.opened)

    async def answer(self, plan: Plan) -> dict[str, Any]:
        """The whole answer as one chat completion."""
        if plan.local:
            choices = plan.request.n or 1
            reply = local.completion(plan.request.model, plan.local, choices)
            return {**reply, "dslm": plan.describe({"refused": plan.local.refused})}
        reply = local.tidy(await self._engine.chat(plan.payload, plan.path))
        reply["model"] = plan.request.model
        plan.usage = reply["usage"]
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
        plan.stream = await self._engine.open({**plan.payload, **STREAMED}, plan.path)
        conclusion = Conclusion(plan)
        plan.relay = Relay(
            plan.stream,
            plan.payload["model"],
            request.model,
            conclusion.follow if plan.path == CHAT else None,
            conclusion.choice,
            show_usage=request.wants_usage(),
            has_logprobs=bool(request.logprobs),
            ends_with_usage=request.dslm.explain,
            choices=request.n or 1,
        )
        return plan.relay.body

    def _bare(self, request: Asked, name: str) -> Plan:
        """As it came, to the base or to an adapter."""
        path = CHAT if isinstance(request, ChatRequest) else COMPLETIONS
        return Plan(request, "generate", path, payload=payload_of(request, name, self._context))

    def _completion(self, request: CompletionRequest, opened: OpenRelease) -> Plan:
        """A domain's adapter goes on with a text: no template, no passages, no demonstrations."""
        if request.dslm.mode not in (None, "generate"):
            message = f"A completion cannot have the answer mode `{request.dslm.mode}`"
            raise Unsupported(message, "Ask /v1/chat/completions", param="dslm.mode")
        request.check_bare()
        self._supervisor.require_ready()
        plan = self._bare(request, engine_name(request, opened))
        plan.opened = opened
        return plan


async def _once(whole: bytes) -> AsyncIterator[bytes]:
    yield whole
