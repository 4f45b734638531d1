"""What is counted of releases: by domain and by why a release answers, never by its number.

Numbers grow for ever; why has three values: live, canary, pinned (asked for by its number).
"""

from collections.abc import Sequence

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram


class ReleaseMeters:
    """Metrics of who answers, in the registry of the service."""

    def __init__(self, registry: CollectorRegistry, buckets: Sequence[float]) -> None:
        self.requests = Counter(
            "dslm_release_requests",
            "answers by why the release gives them",
            ["domain", "role", "status"],
            registry=registry,
        )
        self.seconds = Histogram(
            "dslm_release_seconds",
            "a whole answer",
            ["domain", "role"],
            buckets=buckets,
            registry=registry,
        )
        self.canary_share = Gauge(
            "dslm_canary_share", "share of callers, 0 without one", ["domain"], registry=registry
        )
        self.mirrored = Counter(
            "dslm_mirrored",
            "requests for a mirror, and what came of them",
            ["domain", "outcome"],
            registry=registry,
        )

        self.notes_lost = Counter(
            "dslm_answer_notes_lost",
            "answers of which is not noted what release gave them",
            registry=registry,
        )
        self.feedback = Counter(
            "dslm_feedback",
            "opinions on answers",
            ["domain", "role", "rating", "corrected"],
            registry=registry,
        )
        self._kept: dict[tuple[str, str, int], tuple[Counter, Histogram]] = {}

    def count(self, domain: str, role: str, status: int, seconds: float) -> None:
        """One answer. What its labels name is kept: looking it up costs more than counting."""
        key = (domain, role, status)
        if key not in self._kept:
            requests = self.requests.labels(domain, role, str(status))
            self._kept[key] = (requests, self.seconds.labels(domain, role))
        requests, took = self._kept[key]
        requests.inc()
        took.observe(seconds)
