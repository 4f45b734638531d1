"""One question, from the request to the answer: the path that every request takes."""

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import Any

from adapters.errors import PromptTooLong
from adapters.prompt import REFUSAL_ID, Prompt, Source, compose
from indexer.search.quoting import Quote
from service.answer import local
from service.answer.checks import Checks, refuse_what_the_mode_cannot
from service.answer.citations import Citations, annotation, cite, merged
from service.answer.plan import LocalAnswer, Plan
from service.answer.relay import Relay
from service.answer.releases import OpenRelease, Releases
from service.answer.request import ChatRequest, Mode
from service.answer.retrieval import Found, Retrieval
from service.answer.tokens import TokenCounter
from service.engines.command import BASE_NAME
from service.engines.engine import Engine
from service.engines.supervisor import EngineSupervisor
from service.errors import ContextLengthExceeded, Unavailable
from service.telemetry import Telemetry

STREAMED = {"stream": True, "stream_options": {"include_usage": True}}


class Gateway:
    """Plans an answer, then lets the engine write it, or writes a quotation itself."""

    def __init__(
        self,
        releases: Releases,
        retrieval: Retrieval,
        engine: Engine,
        supervisor: EngineSupervisor,
        tokens: TokenCounter,
        context: int,
        telemetry: Telemetry,
    ) -> None:
        self._releases = releases
        self._retrieval = retrieval
        self._engine = engine
        self._supervisor = supervisor
        self._tokens = tokens
        self._context = context
        self._checks = Checks(tokens, context)
        self._telemetry = telemetry

    def serves(self, name: str) -> bool:
        """Is this the base, or a domain?"""
        return name == BASE_NAME or name in self._releases.domains

    async def plan(self, request: ChatRequest) -> Plan:
        """Decide everything before the engine is asked; `finish` must follow."""
        if request.model == BASE_NAME:
            self._supervisor.require_ready()
            return Plan(request, "generate", payload=self._payload(request, BASE_NAME))
        opened = await self._releases.acquire(request.model)
        try:
            return await self._specialist(request, opened)
        except BaseException:
            self._releases.release(opened)
            raise

    def finish(self, plan: Plan) -> None:
        """Give back what the plan holds; after the last byte, however that came."""
        if plan.stream:
            plan.stream.close()
        if plan.opened:
            self._releases.release(plan.opened)

    async def answer(self, plan: Plan) -> dict[str, Any]:
        """The whole answer as one chat completion."""
        if plan.local:
            reply = local.completion(plan.request.model, plan.local.text, plan.local.annotations)
            return {**reply, "dslm": plan.describe({"refused": plan.local.refused})}
        reply = await self._engine.chat(plan.payload)
        reply["model"] = plan.request.model
        cited = {choice["index"]: self._cited(plan, choice) for choice in reply["choices"]}
        if plan.opened:
            reply["dslm"] = plan.describe(merged(cited))
        plan.usage = reply.get("usage") or {}
        return local.tidy(reply)

    async def stream(self, plan: Plan) -> Callable[[], AsyncIterator[bytes]]:
        """Server-sent events. The engine has accepted the request once this returns."""
        if plan.local:
            said, request = plan.local, plan.request
            about = plan.describe({"refused": said.refused})
            whole = local.stream(
                request.model, said.text, said.annotations, about, request.wants_usage()
            )
            return lambda: _once(whole)
        plan.stream = await self._engine.open({**plan.payload, **STREAMED})
        name, public = plan.payload["model"], plan.request.model
        plan.relay = Relay(
            plan.stream,
            name,
            public,
            lambda _, text: self._ending(plan, text),
            show_usage=plan.request.wants_usage(),
        )
        return plan.relay.body

    async def _specialist(self, request: ChatRequest, opened: OpenRelease) -> Plan:
        mode = self._mode(request, opened)
        question = request.question()
        refuse_what_the_mode_cannot(request, mode)
        limit = request.limit() or opened.release.max_tokens
        await asyncio.to_thread(self._checks.check, request, limit)
        found = self._checks.clean(await self._retrieval.find(question, opened, request.dslm))
        self._telemetry.retrieval.labels(opened.release.domain).observe(found.seconds)
        plan = Plan(request, mode, opened, found)
        wants_passages = request.dslm.passages and opened.release.retrieval.passages
        if wants_passages and not found.passages:
            plan.local = _refusal(opened)
        elif mode == "quote":
            plan.local = _quotation(opened, await self._retrieval.quote(question, opened, found))
        else:
            plan.prompt = await asyncio.to_thread(self._compose, request, opened, found)
            plan.payload = self._specialist_payload(plan, opened, plan.prompt)
        return plan

    def _mode(self, request: ChatRequest, opened: OpenRelease) -> Mode:
        """The mode asked for; `quote` while the engine is away, if the domain allows that."""
        mode = request.dslm.mode or opened.release.mode
        if mode == "quote":
            return mode
        try:
            self._supervisor.require_ready()
        except Unavailable:
            if opened.release.fallback == "quote":
                return "quote"
            raise
        return mode

    def _compose(self, request: ChatRequest, opened: OpenRelease, found: Found) -> Prompt:
        release = opened.release
        limit = request.limit() or release.max_tokens
        try:
            prompt = compose(
                release.prompt_format,
                request.conversation(),
                found.passages,
                found.demonstrations,
                release.system,
                max(0, self._context - limit),
                self._tokens.count,
                self._tokens.per_message,
                release.refusal,
            )
        except PromptTooLong as error:
            raise self._checks.too_long(error.tokens, limit) from error
        if found.passages and not prompt.sources:
            raise self._checks.too_long(self._tokens.count(request.question()), limit)
        return prompt

    def _specialist_payload(
        self, plan: Plan, opened: OpenRelease, prompt: Prompt
    ) -> dict[str, Any]:
        request = plan.request
        name = BASE_NAME
        if opened.adapter and request.dslm.adapter:
            name = opened.adapter.engine_name()
        payload = self._payload(request, name)
        payload["messages"] = list(prompt.messages)
        payload["max_tokens"] = request.limit() or opened.release.max_tokens
        payload.setdefault("temperature", 0.0)
        if plan.mode == "verbatim":
            payload["structured_outputs"] = {"choice": list(prompt.choices)}
        return payload

    def _payload(self, request: ChatRequest, name: str) -> dict[str, Any]:
        payload = {"model": name, "messages": request.plain_messages(), **request.sampling()}
        limit = request.limit()
        if limit and limit >= self._context:
            raise ContextLengthExceeded(
                f"max_tokens = {limit} leaves no room in this base's context of {self._context}",
                "Lower max_tokens",
                param=request.limit_name(),
            )
        return {**payload, "max_tokens": limit} if limit else payload

    def _cited(self, plan: Plan, choice: dict[str, Any]) -> Citations:
        """Annotate a choice in place."""
        cited = self._cite(plan, choice["message"].get("content") or "")
        choice["message"]["annotations"] = cited.annotations
        return cited

    def _ending(self, plan: Plan, text: str) -> dict[str, Any]:
        cited = self._cite(plan, text)
        if not plan.opened:
            return {"annotations": []}
        about = plan.describe(merged({0: cited}))
        return {"annotations": cited.annotations, "dslm": about}

    @staticmethod
    def _cite(plan: Plan, text: str) -> Citations:
        if not plan.opened or not plan.prompt:
            return Citations()
        refusal = plan.opened.release.refusal
        return cite(text, plan.prompt.sources, plan.opened.label, refusal)


def _refusal(opened: OpenRelease) -> LocalAnswer:
    return LocalAnswer(f"[{REFUSAL_ID}] {opened.release.refusal}", [], refused=True)


def _quotation(opened: OpenRelease, quotes: list[Quote]) -> LocalAnswer:
    """The sentences themselves, each behind its marker."""
    if not quotes:
        return _refusal(opened)
    text, annotations = "", []
    for number, quote in enumerate(quotes, start=1):
        marker, at = f"[{number}]", len(text)
        said = quote.text
        text += f"{marker} {said}\n"
        source = Source(number, quote.passage, quote.sentence.start, quote.sentence.end, said)
        span = (at, at + len(marker))
        annotations.append(annotation(source, *span, text, opened.label))
    return LocalAnswer(text.rstrip("\n"), annotations, refused=False)


async def _once(whole: bytes) -> AsyncIterator[bytes]:
    yield whole
