"""POST /v1/feedback: what a caller thinks of an answer that he got."""

import asyncio
import uuid
from datetime import UTC, datetime
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Request
from fastapi.responses import Response
from pydantic import Field

from adapters.answered import AnsweredLine, digest
from adapters.feedback import Feedback, FeedbackStore, TooMuchFeedback
from service.answer.body import LONGEST_NAME, Body
from service.answer.releases import Releases
from service.answered import AnswerNotes
from service.api.auth import Caller, caller_of
from service.api.openapi import described
from service.api.schemas import FeedbackCard
from service.api.wire import Json, parse
from service.errors import InvalidRequest, OutOfSpace, UnknownName
from service.telemetry import Telemetry

LONGEST_TEXT = 8000
Text = Annotated[str, Field(min_length=1, max_length=LONGEST_TEXT, pattern=r"\S")]


class Opinion(Body):
    """`id` is the answer's, `model` the name that was asked. A rating, a correction, or both.

    A correction comes with the `question` as it was asked.
    """

    id: Annotated[str, Field(min_length=1, max_length=LONGEST_NAME)]
    model: Annotated[str, Field(min_length=1, max_length=LONGEST_NAME)]
    rating: Literal["up", "down"] | None = None
    question: Text | None = None
    corrected_answer: Text | None = None
    comment: Annotated[str, Field(max_length=2000)] = ""

    def check(self) -> None:
        """InvalidRequest for fields that do not go together."""
        if self.rating is None and self.corrected_answer is None:
            raise InvalidRequest("There is no opinion", "Send `rating` or `corrected_answer`")
        if (self.corrected_answer is None) != (self.question is None):
            raise InvalidRequest(
                "`question` and `corrected_answer` go together", "Send both", param="question"
            )


def feedback_routes(releases: Releases, notes: AnswerNotes, telemetry: Telemetry) -> APIRouter:
    """The endpoint."""
    router = APIRouter()
    said = described(FeedbackCard, status=201, body=Opinion, errors=(404, 507))

    @router.post("/v1/feedback", openapi_extra=said)
    async def give_feedback(request: Request) -> Response:
        opinion = await parse(request, Opinion)
        opinion.check()
        domain = opinion.model.partition("@")[0]
        caller = caller_of(request)
        caller.check_chat(domain)
        releases.domain(domain)

        def keep() -> Feedback:
            answer = _answer(notes, domain, opinion, caller)
            made = _feedback(opinion, answer, caller)
            FeedbackStore(releases.store.paths, domain).add(made)
            return made

        try:
            made = await asyncio.to_thread(keep)
        except TooMuchFeedback as error:
            raise OutOfSpace(error.message, error.remedy) from error
        corrected = "yes" if made.corrected else "no"
        labels = (domain, made.role, made.rating or "none", corrected)
        telemetry.releases.feedback.labels(*labels).inc()
        return Json(_card(domain, made), 201)

    return router


def _answer(notes: AnswerNotes, domain: str, opinion: Opinion, caller: Caller) -> AnsweredLine:
    """What is known of the answer. Who did not get it may not know that there is one."""
    found = notes.find(domain, opinion.id)
    if found is None or (found.key != caller.id and not caller.may_change(domain)):
        raise UnknownName(
            f"No answer of {domain} is known by the id '{opinion.id}'",
            "Send the `id` of an answer of a domain; old ones are forgotten",
            param="id",
        )
    if opinion.question is not None and digest(opinion.question.strip()) != found.question:
        raise InvalidRequest(
            "`question` is not what was asked", "Send the last message", param="question"
        )
    return found


def _feedback(opinion: Opinion, answer: AnsweredLine, caller: Caller) -> Feedback:
    return Feedback(
        id=uuid.uuid4().hex[:16],
        at=datetime.now(UTC),
        answer=opinion.id,
        release=answer.release,
        role=answer.role,
        rating=opinion.rating,
        question=opinion.question or "",
        corrected=opinion.corrected_answer or "",
        comment=opinion.comment,
        key=caller.id,
    )


def _card(domain: str, made: Feedback) -> dict[str, Any]:
    return {
        "id": made.id,
        "object": "feedback",
        "created_at": int(made.at.timestamp()),
        "answer": made.answer,
        "domain": domain,
        "release": made.release,
        "rating": made.rating,
        "corrected": bool(made.corrected),
    }
