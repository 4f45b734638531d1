"""What is decided for a question to a domain before the engine is asked.

The mode, what is looked up, whether the domain refuses or quotes by itself, and the prompt.
"""

import asyncio
import time
from typing import Any

from service.answer import local
from service.answer.asking import sought_for
from service.answer.checks import (
    Checks,
    can_be_quoted,
    refuse_what_an_external_cannot,
    refuse_what_the_mode_cannot,
)
from service.answer.composing import Composer
from service.answer.payload import Asked, adapter_for, payload_of
from service.answer.plan import Plan
from service.answer.releases import OpenRelease
from service.answer.request import ChatRequest, Mode
from service.answer.retrieval import Retrieval
from service.answer.tokens import Tokens
from service.engines.pool import EnginePool
from service.errors import Unavailable
from service.phases import phase


class Planner:
    """Plans the answers of specialists over one base, whose engines are `pool`."""

    def __init__(self, retrieval: Retrieval, tokens: Tokens, pool: EnginePool) -> None:
        context = pool.base.context
        self.checks = Checks(tokens, context)
        self.pool = pool
        self._retrieval = retrieval
        self._composer = Composer(tokens, context, self.checks)
        self._context = context

    def refuse_what_its_engines_cannot(self, request: Asked) -> None:
        """What neither the base's template nor its engines could honour."""
        if self.pool.base.entry.external:
            refuse_what_an_external_cannot(request, self.pool.name)
        if isinstance(request, ChatRequest):
            self.checks.refuse_unknown_to_template(request)

    async def plan(self, request: ChatRequest, opened: OpenRelease) -> Plan:
        """One chat with a domain, from its mode to its prompt."""
        mode = self._mode(request, opened)
        refuse_what_the_mode_cannot(request, mode)
        limit = request.limit() or opened.release.max_tokens
        await asyncio.to_thread(self.checks.check, request, limit)
        with phase("retrieval"):
            sought = await sought_for(request, opened, None if mode == "quote" else self._ask)
            found = self.checks.clean(await self._retrieval.find(sought.text, opened, request.dslm))
        plan = Plan(request, mode, self.pool, opened=opened, sought=sought, found=found)
        wants_passages = request.dslm.passages and opened.release.retrieval.passages
        # A tool may know what the documents do not say.
        if wants_passages and not found.passages and not request.may_call():
            plan.local = local.refusal(opened, as_refusal=request.is_shaped())
        elif mode == "quote":
            plan.local = local.quotation(
                opened, await self._retrieval.quote(sought.text, opened, found)
            )
        else:
            began = time.perf_counter()
            with phase("compose"):
                await asyncio.to_thread(self._compose, plan, request, opened)
            plan.compose_seconds = time.perf_counter() - began
        return plan

    def _mode(self, request: ChatRequest, opened: OpenRelease) -> Mode:
        """The mode asked for; `quote` while the engine is away, if domain and request allow that.

        A request that no quotation can satisfy waits for the engine.
        """
        mode = request.dslm.mode or opened.release.mode
        if mode == "quote":
            return mode
        try:
            self.pool.require_ready()
        except Unavailable:
            if opened.release.fallback == "quote" and can_be_quoted(request):
                return "quote"
            raise
        return mode

    def _compose(self, plan: Plan, request: ChatRequest, opened: OpenRelease) -> None:
        """Fill the plan's prompt and payload; on a thread, since counting tokens takes long."""
        release = opened.release
        payload = payload_of(request, self._context)
        plan.prompt, payload["messages"] = self._composer.compose(request, release, plan.found)
        payload["max_tokens"] = request.limit() or release.max_tokens
        if not self.pool.base.entry.external:  # some of those refuse any but their own
            payload.setdefault("temperature", 0.0 if (request.n or 1) == 1 else 1.0)
        if plan.mode == "verbatim":
            payload["structured_outputs"] = {"choice": list(plan.prompt.choices)}
        plan.held = adapter_for(request, opened)
        plan.payload = self._composer.told(payload)

    async def _ask(self, payload: dict[str, Any]) -> dict[str, Any]:
        """Of the bare base, for the service's own use."""
        return await self.pool.ask(self._composer.told(payload))
