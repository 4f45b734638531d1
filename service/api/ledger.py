"""How each answer went: in the metrics, in a trace, and in the log where that is wished."""

import logging
from time import perf_counter
from typing import TYPE_CHECKING, Any

from fastapi import Request

from service.answer.completion import CompletionRequest
from service.answer.plan import Plan
from service.answer.request import ChatRequest
from service.logs import fields
from service.phases import Clock
from service.telemetry import Answered, DomainMeters, Telemetry

if TYPE_CHECKING:
    from service.tracing import Trace, Tracer

log = logging.getLogger("dslm.requests")
Question = ChatRequest | CompletionRequest
UNKNOWN = "unknown"
BROKEN_OFF = 502


class Ledger:
    """Keeps them. `tracer`: None where nobody wants traces, which then cost nothing."""

    def __init__(
        self,
        telemetry: Telemetry,
        tracer: "Tracer | None" = None,
        *,
        log_requests: bool = False,
        log_texts: bool = False,
    ) -> None:
        self.telemetry = telemetry
        self.log_texts = log_texts
        self._tracer = tracer
        self._log_requests = log_requests

    def open(self, request: Request, body: Question) -> "Entry":
        """For what is asked now; `Entry.end` or `Entry.refuse` must follow."""
        clock, trace = Clock(), None
        clock.start()
        if self._tracer is not None:
            operation = "chat" if isinstance(body, ChatRequest) else "text_completion"
            trace = self._tracer.begin(request.headers, operation, clock.began)
        return Entry(self, body, clock, trace)

    def note(self, one: Answered, about: dict[str, Any]) -> None:
        """One line, if each answer is to have one or if this one went wrong on our side."""
        if not self._log_requests and one.status < 500:
            return
        took = {p.name: round(p.ended - p.began, 6) for p in one.clock.phases}
        first = one.clock.first
        named = {
            "domain": one.domain,
            "mode": one.mode,
            "status": one.status,
            "seconds": round(one.ended - one.clock.began, 6),
            "first_seconds": None if first is None else round(first - one.clock.began, 6),
            "phases": took,
            "prompt_tokens": one.tokens("prompt"),
            "completion_tokens": one.tokens("completion"),
            **about,
        }
        named = {name: value for name, value in named.items() if value is not None}
        level = logging.ERROR if one.status >= 500 else logging.INFO
        log.log(level, "answered" if one.status < 400 else "failed", extra=fields(**named))


class Entry:
    """One request's."""

    def __init__(self, ledger: Ledger, body: Question, clock: Clock, trace: "Trace | None") -> None:
        self._ledger = ledger
        self._body = body
        self._trace = trace
        self._leased: DomainMeters | None = None
        self.clock = clock

    def lease(self, domain: str) -> None:
        """The answer holds a release from now on."""
        self._leased = self._ledger.telemetry.of_domain(domain)
        self._leased.leases.inc()

    def ask_engine(self) -> None:
        """The engine is asked from here on."""
        if self._trace is not None:
            self._trace.ask_engine()

    def end(self, plan: Plan, status: int) -> None:
        """Answered, or left, or failed after it was admitted."""
        if status == 200 and plan.relay and not plan.relay.completed:
            status = BROKEN_OFF
        if self._leased is not None:
            self._leased.leases.dec()
        one = Answered(plan.domain, plan.mode, status, self.clock, perf_counter(), plan.spent())
        if plan.role:
            took = one.ended - self.clock.began
            self._ledger.telemetry.releases.count(plan.domain, plan.role, status, took)
        self._close(one, _about(plan))

    def refuse(self, domain: str, status: int) -> None:
        """Not even begun; `domain` must be `UNKNOWN` unless it is served."""
        one = Answered(domain, "none", status, self.clock, perf_counter(), {})
        self._close(one, {})

    def _close(self, one: Answered, about: dict[str, Any]) -> None:
        self._ledger.telemetry.of_domain(one.domain).answered(one)
        if self._trace is not None:
            named = {f"dslm.{name}": value for name, value in about.items()}
            self._trace.end(one, named)
        if self._ledger.log_texts and isinstance(self._body, ChatRequest):
            about = {**about, "question": self._body.messages[-1].rendered()}
        self._ledger.note(one, about)


def _about(plan: Plan) -> dict[str, Any]:
    """What answered; nothing of what was said."""
    if plan.opened is None:
        return {}
    release = plan.opened.release
    adapter = release.adapter if plan.request.dslm.adapter else None
    return {
        "release": release.number,
        "snapshot": release.snapshot,
        "adapter": adapter.label if adapter else None,
        "passages": len(plan.found.passages),
        "demonstrations": len(plan.found.demonstrations),
    }
