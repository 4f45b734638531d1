"""Asks the mirror of a domain again what its live release was asked, and keeps both answers.

After the caller has his answer, only where there is room just now, a few at a time and so many a
minute: what does not fit is left out and counted. Whatever goes wrong stays here.
"""

import asyncio
import hashlib
import logging
import random
import time
from collections.abc import Callable
from contextvars import Context
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import orjson

from adapters.mirrored import Comparison, Mirrored, Said
from adapters.release import Release
from adapters.traffic import Mirror
from indexer.errors import DslmError, StoreError
from service.answer.gateway import Gateway
from service.answer.plan import Plan
from service.answer.releases import Releases
from service.answer.request import ChatRequest
from service.telemetry import Telemetry

log = logging.getLogger("dslm.mirror")
MIB = 1024 * 1024
MOST_AT_ONCE = 2
BURST_SECONDS = 5.0
KEY = "mirror"
# As `Admission.at_once`: domain, key, adapter; None where there is no room now.
Admit = Callable[[str, str, str | None], Callable[[], None] | None]


@dataclass(slots=True)
class Allowance:
    """So many a minute, a few seconds' worth at once."""

    since: float
    left: float = 1.0

    def take(self, per_minute: int, now: float) -> bool:
        """One of them, if there is one left."""
        rate = per_minute / 60
        most = max(1.0, rate * BURST_SECONDS)
        self.left = min(most, self.left + (now - self.since) * rate)
        self.since = now
        if self.left < 1:
            return False
        self.left -= 1
        return True


class Mirrors:
    """Owns the requests to mirrors that are under way."""

    def __init__(
        self,
        releases: Releases,
        gateway: Gateway,
        admit: Admit,
        telemetry: Telemetry,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._releases = releases
        self._gateway = gateway
        self._admit = admit
        self._mirrored = telemetry.releases.mirrored
        self._clock = clock
        self._allowances: dict[str, Allowance] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._told = ""

    def offer(self, plan: Plan, reply: dict[str, Any] | None, seconds: float) -> None:
        """An answer that the caller has got whole; `reply` is None where it was streamed.

        Returns at once, whatever comes of it.
        """
        request, opened = plan.request, plan.opened
        if not isinstance(request, ChatRequest) or opened is None or plan.role != "live":
            return
        if plan.relay and not plan.relay.completed:
            return
        domain = opened.release.domain
        mirror = self._releases.beside.mirror(domain)
        if mirror is None or (request.n or 1) > 1 or random.random() >= mirror.share:
            return
        if len(self._tasks) >= MOST_AT_ONCE:
            self._count(domain, "busy")
        elif not self._allowance(domain).take(mirror.per_minute, self._clock()):
            self._count(domain, "rate")
        else:
            said = _said(opened.release, plan, reply, seconds)
            # In a context of its own: it is no part of the caller's trace or times.
            asking = self._ask(request, mirror, said)
            task = asyncio.get_running_loop().create_task(asking, context=Context())
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def settle(self) -> None:
        """Wait for those under way."""
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def close(self) -> None:
        """End those under way."""
        for task in self._tasks:
            task.cancel()
        await self.settle()

    async def _ask(self, request: ChatRequest, mirror: Mirror, live: Said) -> None:
        domain = request.model
        try:
            leave = self._place(domain, mirror.release)
            if leave is None:
                self._count(domain, "busy")
                return
            try:
                theirs = await self._answer(request, mirror.release)
            finally:
                leave()
            self._count(domain, await asyncio.to_thread(self._keep, request, mirror, live, theirs))
        except Exception as error:  # nobody waits for this, and no caller may feel it
            self._count(domain, "failed")
            self._tell(f"the mirror of {domain}: {error!r}")

    def _place(self, domain: str, number: int) -> Callable[[], None] | None:
        opened = self._releases.beside.numbered(domain, str(number))
        adapter = opened.release.adapter if opened else None
        return self._admit(domain, KEY, adapter.digest if adapter else None)

    async def _answer(self, request: ChatRequest, number: int) -> Said:
        """What the mirror says, or why it says nothing."""
        again = {"model": f"{request.model}@{number}", "stream": None, "stream_options": None}
        began = self._clock()
        try:
            plan = await self._gateway.plan(request.model_copy(update=again))
            try:
                reply = await self._gateway.answer(plan)
                assert plan.opened is not None
                return _said(plan.opened.release, plan, reply, self._clock() - began)
            finally:
                self._gateway.finish(plan)
        except DslmError as error:
            return Said(release=number, error=str(error), seconds=self._clock() - began)

    def _keep(self, request: ChatRequest, mirror: Mirror, live: Said, theirs: Said) -> str:
        """On a thread; what is to be counted."""
        same = not theirs.error and live.text == theirs.text
        comparison = Comparison(
            at=datetime.now(UTC),
            question=_digest(request),
            same=same,
            live=live,
            mirror=theirs,
            asked=request.messages[-1].text() if mirror.questions else "",
        )
        kept = Mirrored(self._releases.store.paths, request.model)
        try:
            if not kept.append(comparison, mirror.max_mb * MIB):
                return "too_large"
        except StoreError as error:
            self._tell(f"an answer of the mirror of {request.model} is not kept: {error}")
            return "disk"
        if theirs.error:
            return "failed"
        return "same" if same else "different"

    def _allowance(self, domain: str) -> Allowance:
        if domain not in self._allowances:
            self._allowances[domain] = Allowance(self._clock())
        return self._allowances[domain]

    def _count(self, domain: str, outcome: str) -> None:
        self._mirrored.labels(domain, outcome).inc()

    def _tell(self, what: str) -> None:
        """Once, until it is something else: there may be one for every request."""
        if what != self._told:
            log.warning("%s", what)
        self._told = what


def _said(release: Release, plan: Plan, reply: dict[str, Any] | None, seconds: float) -> Said:
    choice = reply["choices"][0] if reply else {}
    message = choice.get("message", {})
    text = message.get("content") or message.get("refusal") or ""
    if message.get("tool_calls"):
        text = orjson.dumps(message["tool_calls"]).decode()
    return Said(
        release=release.number,
        mode=plan.mode,
        text=text if reply else plan.streamed(),
        finish=choice.get("finish_reason") or "",
        documents=tuple(dict.fromkeys(p.document for p in plan.found.passages)),
        seconds=round(seconds, 4),
    )


def _digest(request: ChatRequest) -> str:
    """The same for the same request, however it was to be sent back."""
    how = {"model", "stream", "stream_options", "user", "safety_identifier", "metadata"}
    asked = request.model_dump(mode="json", exclude=how, exclude_none=True)
    return hashlib.blake2b(orjson.dumps(asked), digest_size=16).hexdigest()
