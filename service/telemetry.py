"""What the service counts; one registry per service, so that two can live in one process."""

from dataclasses import dataclass

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

SECONDS = (0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 30, 60, 120)


@dataclass(frozen=True, slots=True)
class EngineMeters:
    """What one engine's supervisor, switch and pool count."""

    engine_ready: Gauge
    engine_restarts: Counter
    in_flight: Gauge
    adapters: Gauge


class Telemetry:
    """The service's Prometheus metrics."""

    def __init__(self) -> None:
        self.registry = registry = CollectorRegistry()
        self.requests = Counter(
            "dslm_requests", "answers by status", ["domain", "mode", "status"], registry=registry
        )
        self.seconds = Histogram(
            "dslm_request_seconds",
            "a whole answer",
            ["domain"],
            buckets=SECONDS,
            registry=registry,
        )
        self.first_byte = Histogram(
            "dslm_first_byte_seconds",
            "until the first streamed byte",
            ["domain"],
            buckets=SECONDS,
            registry=registry,
        )
        self.retrieval = Histogram(
            "dslm_retrieval_seconds",
            "embedding, search and composing",
            ["domain"],
            buckets=SECONDS,
            registry=registry,
        )
        self.tokens = Counter(
            "dslm_tokens", "prompt and completion tokens", ["domain", "kind"], registry=registry
        )
        self.in_flight = Gauge("dslm_in_flight", "answers in flight", registry=registry)
        self.queued = Gauge("dslm_queued", "requests that wait for a place", registry=registry)
        self.swaps = Histogram(
            "dslm_swap_seconds",
            "from the call to the flip of a release",
            ["domain"],
            buckets=SECONDS,
            registry=registry,
        )
        self.engine_ready = Gauge(
            "dslm_engine_ready", "1 while it answers", ["engine"], registry=registry
        )
        self.engine_restarts = Counter(
            "dslm_engine_restarts", "restarts", ["engine"], registry=registry
        )
        self.engine_in_flight = Gauge(
            "dslm_engine_in_flight", "answers at work there", ["engine"], registry=registry
        )
        self.adapters = Gauge(
            "dslm_adapters_registered", "in the engine", ["engine"], registry=registry
        )

    def of_engine(self, name: str) -> EngineMeters:
        """The metrics of one engine."""
        return EngineMeters(
            self.engine_ready.labels(name),
            self.engine_restarts.labels(name),
            self.engine_in_flight.labels(name),
            self.adapters.labels(name),
        )
