"""What the service counts; one registry per service, so that two can live in one process.

A metric that OpenTelemetry names for GenAI has its name and buckets; the others are named as vLLM
names its own, with `dslm_` before. All values of labels are names of this service's own, never a
client's, so that the series are bounded.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from service.phases import Clock
from service.release_meters import ReleaseMeters

SECONDS = (0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 30, 60, 120)
PHASES = (0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 30)
DURATION = tuple(0.01 * 2**power for power in range(14))
FIRST_TOKEN = tuple(
    thousandths / 1000
    for thousandths in (1, 5, 10, 20, 40, 60, 80, 100, 250, 500, 750, 1000, 2500, 5000, 7500, 10000)
)
PER_TOKEN = (0.01, 0.025, 0.05, 0.075, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.75, 1.0, 2.5)
BATCHES = (1, 2, 4, 8, 16, 32)
MODEL = "gen_ai_request_model"


@dataclass(frozen=True, slots=True)
class EngineMeters:
    """What one engine's supervisor, switch and pool count."""

    engine_ready: Gauge
    engine_restarts: Counter
    in_flight: Gauge
    adapters: Gauge
    probes: Histogram


@dataclass(frozen=True, slots=True)
class Answered:
    """How one answer went. `usage`: tokens as the engine counts them, as far as it has told."""

    domain: str
    mode: str
    status: int
    clock: Clock
    ended: float
    usage: Mapping[str, object]

    def tokens(self, kind: str) -> int:
        """`kind`: prompt, completion or cached."""
        if kind == "cached":
            details = self.usage.get("prompt_tokens_details")
            count = details.get("cached_tokens") if isinstance(details, dict) else None
        else:
            count = self.usage.get(f"{kind}_tokens")
        return count if isinstance(count, int) else 0


class DomainMeters:
    """The metrics of one domain's answers, looked up once: a label costs more than a count."""

    def __init__(self, telemetry: "Telemetry", domain: str) -> None:
        self._telemetry = telemetry
        self._domain = domain
        self._seconds = telemetry.seconds.labels(domain)
        self._first = telemetry.first_token.labels(domain)
        self._per_token = telemetry.per_token.labels(domain)
        self._prompt = telemetry.prompt_tokens.labels(domain)
        self._generated = telemetry.generation_tokens.labels(domain)
        self._cached = telemetry.cached_tokens.labels(domain)
        self._requests: dict[tuple[str, int], Counter] = {}
        self._phases: dict[str, Histogram] = {}
        self.leases = telemetry.leases.labels(domain)

    def answered(self, one: Answered) -> None:
        clock, generated = one.clock, one.tokens("completion")
        self._count(one.mode, one.status)
        self._seconds.observe(one.ended - clock.began)
        if clock.first is not None:
            self._first.observe(clock.first - clock.began)
            if generated > 1:
                self._per_token.observe((one.ended - clock.first) / (generated - 1))
        for phase in clock.phases:
            self._phase(phase.name).observe(phase.ended - phase.began)
        self._prompt.inc(one.tokens("prompt"))
        self._generated.inc(generated)
        self._cached.inc(one.tokens("cached"))

    def _count(self, mode: str, status: int) -> None:
        counter = self._requests.get((mode, status))
        if counter is None:
            counter = self._telemetry.requests.labels(self._domain, mode, str(status))
            self._requests[mode, status] = counter
        counter.inc()

    def _phase(self, name: str) -> Histogram:
        if name not in self._phases:
            self._phases[name] = self._telemetry.phases.labels(self._domain, name)
        return self._phases[name]


class Telemetry:
    """The service's Prometheus metrics."""

    def __init__(self) -> None:
        self.registry = registry = CollectorRegistry()
        self._domains: dict[str, DomainMeters] = {}
        self._answers(registry)
        self._insides(registry)
        self._engines(registry)

    def of_domain(self, domain: str) -> DomainMeters:
        """`domain` must be one that is served: each name is kept."""
        meters = self._domains.get(domain)
        if meters is None:
            meters = self._domains[domain] = DomainMeters(self, domain)
        return meters

    def of_engine(self, name: str) -> EngineMeters:
        """The metrics of one engine."""
        return EngineMeters(
            self.engine_ready.labels(name),
            self.engine_restarts.labels(name),
            self.engine_in_flight.labels(name),
            self.adapters.labels(name),
            self.probes.labels(name),
        )

    def _answers(self, registry: CollectorRegistry) -> None:
        self.requests = Counter(
            "dslm_requests", "answers by status", ["domain", "mode", "status"], registry=registry
        )
        self.seconds = Histogram(
            "gen_ai_server_request_duration_seconds",
            "a whole answer",
            [MODEL],
            buckets=DURATION,
            registry=registry,
        )
        self.first_token = Histogram(
            "gen_ai_server_time_to_first_token_seconds",
            "until the first part of a stream",
            [MODEL],
            buckets=FIRST_TOKEN,
            registry=registry,
        )
        self.per_token = Histogram(
            "gen_ai_server_time_per_output_token_seconds",
            "of a stream, after its first part",
            [MODEL],
            buckets=PER_TOKEN,
            registry=registry,
        )
        self.phases = Histogram(
            "dslm_phase_seconds",
            "admission, retrieval, compose, engine",
            ["domain", "phase"],
            buckets=PHASES,
            registry=registry,
        )
        self.prompt_tokens = Counter(
            "dslm_prompt_tokens", "read by the engine", ["domain"], registry=registry
        )
        self.generation_tokens = Counter(
            "dslm_generation_tokens", "written by the engine", ["domain"], registry=registry
        )
        self.cached_tokens = Counter(
            "dslm_prompt_tokens_cached",
            "of the prompt, from the engine's prefix cache",
            ["domain"],
            registry=registry,
        )
        self.in_flight = Gauge("dslm_in_flight", "answers in flight", registry=registry)
        self.releases = ReleaseMeters(registry, SECONDS)
        self.queued = Gauge("dslm_queued", "requests that wait for a place", registry=registry)
        self.store_free = Gauge(
            "dslm_store_free_bytes", "on the disk that the store lies on", registry=registry
        )
        self.store_size = Gauge("dslm_store_size_bytes", "of that disk", registry=registry)

    def _insides(self, registry: CollectorRegistry) -> None:
        self.leases = Gauge(
            "dslm_leases", "answers that hold a release", ["domain"], registry=registry
        )
        self.release = Gauge("dslm_release", "the live one", ["domain"], registry=registry)
        self.quarantined = Gauge(
            "dslm_quarantined_documents",
            "left out by the domain's last index job",
            ["domain"],
            registry=registry,
        )
        self.batches = Histogram(
            "dslm_question_batch_size",
            "questions embedded at once",
            buckets=BATCHES,
            registry=registry,
        )
        self.cache_queries = Counter(
            "dslm_cache_queries", "lookups in a cache", ["cache"], registry=registry
        )
        self.cache_hits = Counter(
            "dslm_cache_hits", "lookups that found it", ["cache"], registry=registry
        )

    def _engines(self, registry: CollectorRegistry) -> None:
        self.swaps = Histogram(
            "dslm_swap_seconds",
            "from the call to the flip of a release",
            ["domain"],
            buckets=SECONDS,
            registry=registry,
        )
        self.swaps_refused = Counter(
            "dslm_swaps_refused", "releases that could not go live", ["domain"], registry=registry
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
        self.probes = Histogram(
            "dslm_adapter_probe_seconds",
            "an adapter compared with its base, once loaded",
            ["engine"],
            buckets=PHASES,
            registry=registry,
        )
