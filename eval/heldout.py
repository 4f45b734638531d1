"""Held-out questions, asked in each answer mode and scored by where the answer points."""

import asyncio
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from eval.answer import Answer
from eval.client import Client
from eval.progress import phase, watched
from eval.questions import Question
from eval.stats import Share

MODES = ("generate", "verbatim", "quote")
RECALL_AT = 5
EVERY_DOMAIN = "all"


@dataclass(frozen=True, slots=True)
class Outcome:
    """How one question went. `first`: the right sentence is what the answer cites first."""

    question: Question
    mode: str
    retrieved: int
    found: bool
    cited: bool
    first: bool
    right: bool
    exact: bool
    refused: bool
    text: str
    seconds: float

    @property
    def answerable(self) -> bool:
        return self.question.document is not None


@dataclass(frozen=True, slots=True)
class Tally:
    """One row of the table: a mode in one domain, or over all; `retrieved`: most passages."""

    mode: str
    domain: str
    retrieved: int
    recall: Share
    cited: Share
    first: Share
    right: Share
    exact: Share
    refused: Share
    false_refused: Share


async def ask_all(client: Client, questions: Sequence[Question]) -> list[Outcome]:
    """Every question in every mode, greedily."""
    outcomes: list[Outcome] = []
    for mode in MODES:
        with phase(f"held-out questions, {mode}", len(questions)) as advance:
            asked = [watched(_ask(client, question, mode), advance) for question in questions]
            outcomes += await asyncio.gather(*asked)
    return outcomes


async def _ask(client: Client, question: Question, mode: str) -> Outcome:
    messages = [{"role": "user", "content": question.question}]
    options: dict[str, Any] = {"temperature": 0, "dslm": {"mode": mode}}
    return score(question, mode, await client.chat(question.domain, messages, options))


def score(question: Question, mode: str, answer: Answer) -> Outcome:
    """Compare an answer with the document and sentence that should have been given."""
    passages = [passage["document"] for passage in answer.dslm.get("passages", ())]
    refused = bool(answer.dslm.get("refused"))
    text = collapse(answer.text)
    quotes = [collapse(citation.quote) for citation in answer.citations]
    wanted = None if refused or question.sentence is None else collapse(question.sentence)
    exact = bool(quotes) and all(quote in text for quote in quotes)
    return Outcome(
        question=question,
        mode=mode,
        retrieved=len(passages),
        found=question.document in passages[:RECALL_AT],
        cited=wanted in quotes,
        first=wanted in quotes[:1],
        right=wanted in quotes and exact,
        exact=exact,
        refused=refused,
        text=answer.text,
        seconds=answer.seconds,
    )


def collapse(text: str) -> str:
    """White space as one space, as documents hold it."""
    return " ".join(text.split())


def tally(outcomes: Iterable[Outcome], mode: str, domain: str) -> Tally:
    """Shares over the answerable questions, the unanswerable ones, and the answers given."""
    chosen = [o for o in outcomes if o.mode == mode and domain in (EVERY_DOMAIN, o.question.domain)]
    answerable = [o for o in chosen if o.answerable]
    return Tally(
        mode=mode,
        domain=domain,
        retrieved=max((o.retrieved for o in chosen), default=0),
        recall=Share.of(o.found for o in answerable),
        cited=Share.of(o.cited for o in answerable),
        first=Share.of(o.first for o in answerable),
        right=Share.of(o.right for o in answerable),
        exact=Share.of(o.exact for o in chosen if not o.refused),
        refused=Share.of(o.refused for o in chosen if not o.answerable),
        false_refused=Share.of(o.refused for o in answerable),
    )


def tallies(outcomes: Sequence[Outcome]) -> list[Tally]:
    """For each mode: every domain, then all together."""
    domains = [*sorted({o.question.domain for o in outcomes}), EVERY_DOMAIN]
    return [tally(outcomes, mode, domain) for mode in MODES for domain in domains]
