"""One indexing job: what is known of it, kept in a file so that it outlives the service."""

import time
import uuid
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

Status = Literal["queued", "running", "cancelling", "succeeded", "failed", "cancelled"]
ENDED = ("succeeded", "failed", "cancelled")
KEPT_QUARANTINED = 1000


class Process(BaseModel):
    """A process by its id and when it was started: an id alone may be another's by now."""

    pid: int
    started: float


class Phase(BaseModel):
    """How far a part of the job is, as its child last told; times are since the epoch."""

    done: int = 0
    total: int = 0
    rate: float = 0.0
    left: float | None = None
    began: float
    seen: float

    def describe(self) -> dict[str, Any]:
        """As the API shows it; `rate` is per second, `seconds_left` None where nobody knows."""
        return {
            "done": self.done,
            "total": self.total,
            "seconds": round(self.seen - self.began, 3),
            "rate": round(self.rate, 2),
            "seconds_left": None if self.left is None else round(self.left, 1),
        }


class Job(BaseModel):
    """`attempts`: how often a child was started for it; `holder`: the token of the service that has
    it, as long as it has not ended; `child` runs it now, on that service's machine."""

    model_config = ConfigDict(extra="ignore", validate_assignment=False)

    domain: str
    id: str = Field(default_factory=lambda: f"job-{uuid.uuid4().hex[:12]}", pattern=r"^job-\w+$")
    status: Status = "queued"
    created: float = Field(default_factory=time.time)
    started: float | None = None
    ended: float | None = None
    attempts: int = 0
    phase: str | None = None
    phases: dict[str, Phase] = {}
    quarantined: list[dict[str, Any]] = []
    quarantined_total: int = 0
    result: dict[str, Any] | None = None
    error: str | None = None
    holder: str | None = None
    child: Process | None = None

    @property
    def has_ended(self) -> bool:
        return self.status in ENDED

    def begin(self) -> None:
        """A child starts to work on it, for the first time or again."""
        self.status = "running"
        self.attempts += 1
        self.started = self.started or time.time()
        self.phase, self.phases = None, {}

    def end(self, status: Status, error: str | None = None) -> None:
        """No child works on it any more, and none will."""
        self.status, self.error = status, error
        self.ended = time.time()
        self.holder = self.child = None

    def take(self, said: dict[str, Any]) -> None:
        """A line of the child."""
        if said.get("event") == "progress" and isinstance(said.get("phase"), str):
            self._progress(said["phase"], said)
        elif said.get("event") == "result":
            result = {key: value for key, value in said.items() if key != "event"}
            rejected = result.pop("rejected", None) or []
            self.quarantined = rejected[:KEPT_QUARANTINED]
            self.quarantined_total = len(rejected)
            self.result = result

    def outcome(self, code: int, said: str) -> tuple[Status, str | None]:
        """How it ended, and why, by its child's exit code and last words."""
        if code == 0:
            return "succeeded", None
        if self.status == "cancelling":
            return "cancelled", None
        if code < 0:
            return "failed", f"Ended by signal {-code}; start it again, it goes on. {said}".strip()
        return "failed", said or f"exit code {code}"

    def _progress(self, name: str, said: dict[str, Any]) -> None:
        now = time.time()
        began = self.phases[name].began if name in self.phases else now
        known = {key: said[key] for key in ("done", "total", "rate", "left") if key in said}
        self.phase = name
        self.phases[name] = Phase(began=began, seen=now, **known)

    def describe(self, *, short: bool = False) -> dict[str, Any]:
        """As the API shows it; `short` leaves out the list of quarantined files."""
        phase = self.phases.get(self.phase or "")
        progress = {"phase": self.phase, **phase.describe()} if phase else None
        shown = {
            "id": self.id,
            "object": "job",
            "domain": self.domain,
            "status": self.status,
            "created_at": int(self.created),
            "started_at": self.started and int(self.started),
            "ended_at": self.ended and int(self.ended),
            "attempts": self.attempts,
            "progress": progress,
            "phases": {name: one.describe() for name, one in self.phases.items()},
            "quarantined_total": self.quarantined_total,
            "result": self.result,
            "error": self.error,
        }
        return shown if short else {**shown, "quarantined": self.quarantined}
