"""What callers think of answers, and what a person decided about it: kept for good, within bounds.

Two files of a domain, both only appended to: opinions, and reviews of them. An accepted correction
becomes a solved example in the domain's own file, so the next index has it.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Final, Literal

from adapters.audit import Cause
from adapters.lines import append_line, read_lines
from adapters.locking import exclusive
from adapters.manifest import Pinned
from indexer.domain import Domain
from indexer.errors import BadInput, NotFound, StoreError
from indexer.settings import Paths, store_errors

FOLDER: Final = "feedback"
MAX_BYTES: Final = 64 * 1024 * 1024
PREFIX: Final = "feedback-"
Rating = Literal["up", "down"]
State = Literal["open", "accepted", "rejected"]


class Feedback(Pinned):
    """One opinion about the answer `answer`, which `release` gave to a caller who had that `role`.

    `question` and `corrected` go together: what was asked, and what should have been answered.
    """

    id: str
    at: datetime
    answer: str
    release: int
    role: Literal["live", "canary", "pinned"]
    rating: Rating | None = None
    question: str = ""
    corrected: str = ""
    comment: str = ""
    key: str = ""


class Review(Pinned):
    """What somebody decided about one opinion; `corrected`: as it was accepted."""

    feedback: str
    at: datetime
    state: Literal["accepted", "rejected"]
    who: str
    why: str = ""
    corrected: str = ""


class TooMuchFeedback(StoreError):
    """The file of opinions has reached its bound."""


class FeedbackStore:
    """One domain's opinions and their reviews."""

    def __init__(self, paths: Paths, domain: str, max_bytes: int = MAX_BYTES) -> None:
        self.folder = paths.domain(domain) / FOLDER
        self._domain = domain
        self._max_bytes = max_bytes

    def add(self, feedback: Feedback) -> None:
        """Durably. TooMuchFeedback when the bound is reached: nothing that was kept is dropped."""
        line = feedback.model_dump_json().encode()
        with exclusive(self.folder / ".lock"):
            path = self.folder / "feedback.jsonl"
            with store_errors(path):
                self.folder.chmod(0o700)
                size = path.stat().st_size if path.exists() else 0
            if size + len(line) + 1 > self._max_bytes:
                raise TooMuchFeedback(
                    f"The feedback on {self._domain} has reached {self._max_bytes >> 20} MiB",
                    f"Review it, then move {path} away",
                )
            append_line(path, line, mode=0o600)

    def list(self) -> list[Feedback]:
        """Oldest first."""
        return [one for one in read_lines(self.folder / "feedback.jsonl", Feedback) if one]

    def reviews(self) -> dict[str, Review]:
        """The last decision about each opinion, by its id."""
        read = read_lines(self.folder / "reviews.jsonl", Review)
        return {one.feedback: one for one in read if one}

    def latest(self) -> Iterator[Feedback]:
        """The last opinion about each answer: who thinks again counts once."""
        yield from {one.answer: one for one in self.list()}.values()

    def get(self, name: str) -> Feedback:
        """By its id, or by how that begins; NotFound names what there is."""
        found = [one for one in self.list() if one.id.startswith(name)] if name else []
        if len(found) != 1:
            what = "several opinions" if found else "no opinion"
            raise NotFound(
                f"{self._domain} has {what} {name}", f"See `dslm feedback list {self._domain}`"
            )
        return found[0]

    def accept(self, domain: Domain, name: str, cause: Cause, corrected: str = "") -> Path:
        """Make a correction a solved example; the file that has it now.

        The example is written before the decision: after a crash between, both come again, and an
        example that stands there twice counts once.
        """
        with exclusive(self.folder / ".lock"):
            found = self._open(name)
            answer = corrected.strip() or found.corrected.strip()
            if not answer or not found.question.strip():
                raise BadInput(
                    f"{found.id} has no correction", "Give the answer with --answer, or reject it"
                )
            path = _examples(domain)
            append_line(path, _example(found, answer))
            self._decide(found, "accepted", cause, answer)
        return path

    def reject(self, name: str, cause: Cause) -> Feedback:
        """Decide that nothing follows from it."""
        with exclusive(self.folder / ".lock"):
            found = self._open(name)
            self._decide(found, "rejected", cause, "")
        return found

    def _open(self, name: str) -> Feedback:
        found = self.get(name)
        review = self.reviews().get(found.id)
        if review:
            raise BadInput(
                f"{found.id} was {review.state} by {review.who} on {review.at:%Y-%m-%d}",
                f"See `dslm feedback list {self._domain} --state all`",
            )
        return found

    def _decide(
        self,
        found: Feedback,
        state: Literal["accepted", "rejected"],
        cause: Cause,
        corrected: str,
    ) -> None:
        review = Review(
            feedback=found.id,
            at=datetime.now(UTC),
            state=state,
            who=cause.who,
            why=cause.why,
            corrected=corrected,
        )
        append_line(self.folder / "reviews.jsonl", review.model_dump_json().encode(), mode=0o600)


def _examples(domain: Domain) -> Path:
    """The first file of solved examples that the domain names: the indexer reads it."""
    if not domain.demonstrations.paths:
        raise BadInput(
            f"{domain.name} has no file of solved examples", "Set `demonstrations.paths`"
        )
    return domain.folder / domain.demonstrations.paths[0]


def _example(found: Feedback, answer: str) -> bytes:
    """As `indexer.reading.examples` reads it."""
    turns = [("user", found.question.strip()), ("assistant", answer)]
    messages = [{"role": role, "content": content} for role, content in turns]
    row = {"id": f"{PREFIX}{found.id}", "messages": messages}
    return json.dumps(row, ensure_ascii=False).encode()
