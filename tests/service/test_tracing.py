"""A traced answer is one span with its phases below, in the client's trace, and without its text.

A collector of our own takes what the service sends, as OpenTelemetry's would.
"""

import sys
from collections.abc import Iterator
from pathlib import Path
from subprocess import run
from typing import Any

import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from tests.service.fake_engine import serving
from tests.service.product import Product, running

TRACE = "0af7651916cd43dd8448eb211c80319c"
PARENT = "b7ad6b7169203331"
SECRET = "my name is Gerald"


class Collector:
    """Takes traces as OTLP over HTTP."""

    def __init__(self) -> None:
        self.spans: list[Any] = []
        self.raw = b""
        self.app = Starlette(routes=[Route("/v1/traces", self.take, methods=["POST"])])

    async def take(self, request: Request) -> Response:
        body = await request.body()
        self.raw += body
        told = ExportTraceServiceRequest.FromString(body)
        for resource in told.resource_spans:
            for scope in resource.scope_spans:
                self.spans += scope.spans
        return Response(media_type="application/x-protobuf")


Sent = tuple[dict[str, Any], Collector, str]


@pytest.fixture(scope="module")
def traced(indexed: tuple[Path, Path]) -> Iterator[Sent]:
    """What was sent for one streamed answer, by name; and what the engine was asked."""
    collector = Collector()
    with serving(collector.app) as address:
        with running(*indexed, otlp_endpoint=f"{address}/v1/traces") as product:
            sent = f"00-{TRACE}-{PARENT}-01"
            body = {
                "model": "garden",
                "stream": True,
                "messages": [{"role": "user", "content": f"When do I prune roses? {SECRET}"}],
            }
            answer = product.post("/v1/chat/completions", body, traceparent=sent)
            assert answer.text.endswith("data: [DONE]\n\n")
            told = product.engine.headers[b"traceparent"].decode()
            assert product.chat("nobody").status_code == 404
        # The service sends what is left before it ends.
        spans = sorted(collector.spans, key=lambda span: span.trace_id.hex() == TRACE)
        yield {span.name: span for span in spans}, collector, told


def attributes(span: Any) -> dict[str, Any]:
    values = {one.key: one.value for one in span.attributes}
    return {key: getattr(value, value.WhichOneof("value")) for key, value in values.items()}


def test_the_answer_is_a_span_below_the_clients_own(traced: Sent) -> None:
    span = traced[0]["chat garden"]
    assert (span.trace_id.hex(), span.parent_span_id.hex()) == (TRACE, PARENT)


def test_each_phase_is_a_span_below_the_answers_and_within_it(traced: Sent) -> None:
    spans = traced[0]
    whole = spans["chat garden"]
    for name in ("admission", "retrieval", "compose", "chat engine"):
        phase = spans[name]
        assert phase.parent_span_id == whole.span_id
        assert whole.start_time_unix_nano <= phase.start_time_unix_nano
        assert phase.end_time_unix_nano <= whole.end_time_unix_nano


def test_the_engine_is_told_the_span_that_waits_for_it(traced: Sent) -> None:
    spans, _, told = traced
    version, trace, span, sampled = told.split("-")
    assert (version, trace, sampled) == ("00", TRACE, "01")
    assert span == spans["chat engine"].span_id.hex()


def test_the_span_says_what_answered_by_the_conventions_for_genai(traced: Sent) -> None:
    told = attributes(traced[0]["chat garden"])
    assert told["gen_ai.operation.name"] == "chat"
    assert told["gen_ai.request.model"] == "garden"
    assert told["gen_ai.usage.output_tokens"] == 2
    assert told["http.response.status_code"] == 200
    assert told["dslm.release"] == 1


def test_what_is_refused_is_a_trace_of_its_own_under_no_name_of_the_clients(traced: Sent) -> None:
    span = traced[0]["chat unknown"]
    assert span.trace_id.hex() != TRACE
    assert attributes(span)["http.response.status_code"] == 404


def test_no_text_leaves_with_a_trace(traced: Sent) -> None:
    collector = traced[1]
    assert SECRET.encode() not in collector.raw
    assert b"prune" not in collector.raw
    assert b"nobody" not in collector.raw


def test_without_an_endpoint_opentelemetry_is_not_even_imported() -> None:
    script = "import sys, service.app, service.server; sys.exit('opentelemetry' in sys.modules)"
    assert run([sys.executable, "-c", script], check=False).returncode == 0


def test_without_an_endpoint_the_engine_hears_of_no_trace(product: Product) -> None:
    product.post(
        "/v1/chat/completions",
        {"model": "garden", "messages": [{"role": "user", "content": "When do I prune?"}]},
        traceparent=f"00-{TRACE}-{PARENT}-01",
    )
    assert b"traceparent" not in product.engine.headers
