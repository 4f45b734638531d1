"""Traces of answers, sent by OpenTelemetry: a span for the answer, one below it for each phase.

Imported only where an endpoint is set. Attributes are those of the conventions for GenAI, and none
holds a user's text.
"""

import time
from collections.abc import Mapping
from typing import Any

from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter
from opentelemetry.sdk.trace.sampling import ParentBased, TraceIdRatioBased
from opentelemetry.trace import Span, SpanKind, Status, StatusCode, set_span_in_context
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from service.phases import OUTGOING, Phase
from service.telemetry import Answered

TRACED_HEADERS = ("traceparent", "tracestate")
PROVIDER = "dslm"


class Tracer:
    """Sends to `endpoint`, from a thread of its own, a `share` of what nobody traces yet."""

    def __init__(self, endpoint: str, share: float, exporter: SpanExporter | None = None) -> None:
        self._provider = TracerProvider(
            resource=Resource.create({"service.name": PROVIDER}),
            sampler=ParentBased(TraceIdRatioBased(share)),
            shutdown_on_exit=False,
        )
        exporter = exporter or OTLPSpanExporter(endpoint=endpoint)
        self._provider.add_span_processor(BatchSpanProcessor(exporter))
        self._tracer = self._provider.get_tracer(PROVIDER)
        self._propagator = TraceContextTextMapPropagator()

    def begin(self, headers: Mapping[str, str], operation: str, began: float) -> "Trace":
        """One answer, in the client's trace if it has one; `began` by `time.perf_counter`."""
        carried = {name: headers[name] for name in TRACED_HEADERS if name in headers}
        return Trace(self, self._propagator.extract(carried), operation, began)

    def start(self, name: str, context: Any, kind: SpanKind, at: int) -> Span:
        return self._tracer.start_span(name, context=context, kind=kind, start_time=at)

    def carrier(self, span: Span) -> dict[str, str]:
        """The headers by which another process joins in below `span`."""
        carried: dict[str, str] = {}
        self._propagator.inject(carried, set_span_in_context(span))
        return carried

    def close(self) -> None:
        """Send what has ended; blocks for as long as the endpoint takes, 30 s at most."""
        self._provider.shutdown()


class Trace:
    """One answer's spans."""

    def __init__(self, tracer: Tracer, context: Any, operation: str, began: float) -> None:
        self._tracer = tracer
        self._operation = operation
        self._offset = time.time_ns() - int(time.perf_counter() * 1e9)
        self._span = tracer.start(operation, context, SpanKind.SERVER, self._at(began))
        self._below = set_span_in_context(self._span)
        self._engine: Span | None = None

    def ask_engine(self) -> None:
        """From here on the engine is asked, and told of the trace."""
        now = self._at(time.perf_counter())
        self._engine = self._tracer.start(
            f"{self._operation} engine", self._below, SpanKind.CLIENT, now
        )
        OUTGOING.set(self._tracer.carrier(self._engine))

    def end(self, one: Answered, about: Mapping[str, Any]) -> None:
        """`about`: attributes besides those of `one`; those that are None are left out."""
        span = self._span
        span.update_name(f"{self._operation} {one.domain}")
        known = {**_attributes(one, self._operation), **about}
        span.set_attributes({name: value for name, value in known.items() if value is not None})
        if one.status >= 500:
            span.set_attribute("error.type", str(one.status))
            span.set_status(Status(StatusCode.ERROR))
        for phase in one.clock.phases:
            if phase.name != "engine":
                self._phase(phase)
        if self._engine is not None:
            self._engine.end(self._at(one.ended))
        span.end(self._at(one.ended))

    def _phase(self, phase: Phase) -> None:
        began, ended = self._at(phase.began), self._at(phase.ended)
        self._tracer.start(phase.name, self._below, SpanKind.INTERNAL, began).end(ended)

    def _at(self, seconds: float) -> int:
        """Nanoseconds since 1970 of a moment of `time.perf_counter`."""
        return self._offset + int(seconds * 1e9)


def _attributes(one: Answered, operation: str) -> dict[str, Any]:
    clock = one.clock
    first = None if clock.first is None else clock.first - clock.began
    return {
        "gen_ai.operation.name": operation,
        "gen_ai.provider.name": PROVIDER,
        "gen_ai.request.model": one.domain,
        "gen_ai.response.model": one.domain,
        "gen_ai.usage.input_tokens": one.tokens("prompt"),
        "gen_ai.usage.output_tokens": one.tokens("completion"),
        "gen_ai.response.time_to_first_chunk": first,
        "http.response.status_code": one.status,
        "dslm.mode": one.mode,
    }
