"""What is decided for a question to a domain before the engine is asked.

The mode, what is looked up, whether the domain refuses or quotes by itself, and the prompt.
"""

import asyncio
from collections.abc import Callable

from service.answer import local
from service.answer.checks import Checks, can_be_quoted, refuse_what_the_mode_cannot
from service.answer.composing import Composer
from service.answer.payload import engine_name, payload_of
from service.answer.plan import Plan
from service.answer.releases import OpenRelease
from service.answer.request import ChatRequest, Mode
from service.answer.retrieval import Retrieval
from service.answer.tokens import TokenCounter
from service.errors import Unavailable
from service.phases import phase


class Planner:
    """Plans the answers of specialists; `require_ready` raises Unavailable without an engine."""

    def __init__(
        self,
        retrieval: Retrieval,
        tokens: TokenCounter,
        context: int,
        require_ready: Callable[[], None],
    ) -> None:
        self.checks = Checks(tokens, context)
        self._retrieval = retrieval
        self._composer = Composer(tokens, context, self.checks)
        self._context = context
        self._require_ready = require_ready

    async def plan(self, request: ChatRequest, opened: OpenRelease) -> Plan:
        """One chat with a domain, from its mode to its prompt."""
        mode = self._mode(request, opened)
        question = request.question()
        refuse_what_the_mode_cannot(request, mode)
        limit = request.limit() or opened.release.max_tokens
        await asyncio.to_thread(self.checks.check, request, limit)
        with phase("retrieval"):
            found = self.checks.clean(await self._retrieval.find(question, opened, request.dslm))
        plan = Plan(request, mode, opened=opened, found=found)
        wants_passages = request.dslm.passages and opened.release.retrieval.passages
        # A tool may know what the documents do not say.
        if wants_passages and not found.passages and not request.may_call():
            plan.local = local.refusal(opened, as_refusal=request.is_shaped())
        elif mode == "quote":
            plan.local = local.quotation(
                opened, await self._retrieval.quote(question, opened, found)
            )
        else:
            with phase("compose"):
                await asyncio.to_thread(self._compose, plan, request, opened)
        return plan

    def _mode(self, request: ChatRequest, opened: OpenRelease) -> Mode:
        """The mode asked for; `quote` while the engine is away, if domain and request allow that.

        A request that no quotation can satisfy waits for the engine.
        """
        mode = request.dslm.mode or opened.release.mode
        if mode == "quote":
            return mode
        try:
            self._require_ready()
        except Unavailable:
            if opened.release.fallback == "quote" and can_be_quoted(request):
                return "quote"
            raise
        return mode

    def _compose(self, plan: Plan, request: ChatRequest, opened: OpenRelease) -> None:
        """Fill the plan's prompt and payload; on a thread, since counting tokens takes long."""
        release = opened.release
        payload = payload_of(request, engine_name(request, opened), self._context)
        plan.prompt, payload["messages"] = self._composer.compose(request, release, plan.found)
        payload["max_tokens"] = request.limit() or release.max_tokens
        payload.setdefault("temperature", 0.0 if (request.n or 1) == 1 else 1.0)
        if plan.mode == "verbatim":
            payload["structured_outputs"] = {"choice": list(plan.prompt.choices)}
        plan.payload = payload
