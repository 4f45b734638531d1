"""Scoring: what counts as found, cited, copied and refused."""

from dataclasses import replace
from typing import Any

import pytest

from eval.answer import Answer, Citation
from eval.heldout import EVERY_DOMAIN, Outcome, score, tallies, tally
from eval.questions import Question
from eval.stats import Share

SENTENCE = "A full cycle takes 34 minutes."
QUESTION = Question("q1", "support", "How long is a cycle?", "cycle.md", SENTENCE)
UNANSWERABLE = Question("q2", "support", "How tall is it?", None, None)


def answer(
    text: str = f"[1] {SENTENCE}",
    quote: str | None = SENTENCE,
    passages: tuple[str, ...] = ("cycle.md",),
    refused: bool = False,
) -> Answer:
    cited = () if quote is None else (Citation("cycle.md", "c1", 0, len(quote), quote),)
    dslm: dict[str, Any] = {
        "refused": refused,
        "passages": [{"document": name} for name in passages],
    }
    return Answer(text, cited, dslm, "stop", 0.1)


def test_the_right_sentence_cited_and_copied() -> None:
    outcome = score(QUESTION, "generate", answer())
    assert (outcome.found, outcome.cited, outcome.right, outcome.exact) == (True,) * 4
    assert not outcome.refused


def test_white_space_does_not_count() -> None:
    spaced = answer(
        text="[1] A full  cycle\ntakes 34 minutes.", quote="A full cycle takes 34\nminutes."
    )
    assert score(QUESTION, "generate", spaced).right


def test_the_right_citation_with_a_garbled_copy_is_cited_but_not_right() -> None:
    outcome = score(QUESTION, "generate", answer(text="[1] A full cycle takes 43 minutes."))
    assert outcome.cited
    assert not outcome.exact
    assert not outcome.right


def test_the_right_sentence_behind_another_is_cited_but_not_first() -> None:
    right = Citation("cycle.md", "c1", 0, len(SENTENCE), SENTENCE)
    other = Citation("other.md", "c2", 0, 6, "Other.")
    both = replace(answer(text=f"[1] Other. [2] {SENTENCE}"), citations=(other, right))
    outcome = score(QUESTION, "quote", both)
    assert (outcome.cited, outcome.first, outcome.right) == (True, False, True)


def test_another_sentence_copied_exactly_is_exact_but_not_cited() -> None:
    outcome = score(QUESTION, "generate", answer(text="[1] Other.", quote="Other."))
    assert outcome.exact
    assert not outcome.cited


def test_an_answer_that_cites_nothing_is_not_exact() -> None:
    assert not score(QUESTION, "generate", answer(quote=None)).exact


def test_only_the_first_five_passages_count_as_found() -> None:
    others = ("a.md", "b.md", "c.md", "d.md")
    assert score(QUESTION, "quote", answer(passages=(*others, "cycle.md"))).found
    assert not score(QUESTION, "quote", answer(passages=(*others, "e.md", "cycle.md"))).found


def test_a_refusal_is_never_right() -> None:
    outcome = score(QUESTION, "generate", answer(refused=True))
    assert outcome.refused
    assert not outcome.cited
    assert not outcome.first
    assert not outcome.right


def outcomes() -> list[Outcome]:
    return [
        score(QUESTION, "generate", answer()),
        score(QUESTION, "generate", answer(refused=True, quote=None)),
        score(UNANSWERABLE, "generate", answer(refused=True, quote=None)),
        score(UNANSWERABLE, "generate", answer()),
        score(UNANSWERABLE, "quote", answer()),
    ]


def test_refusals_and_answers_are_counted_over_their_own_questions() -> None:
    row = tally(outcomes(), "generate", EVERY_DOMAIN)
    assert row.cited == Share(1, 2)
    assert row.false_refused == Share(1, 2)
    assert row.refused == Share(1, 2)
    assert row.exact == Share(2, 2)


@pytest.mark.parametrize("domain", ["support", EVERY_DOMAIN])
def test_there_is_a_row_for_each_mode_and_domain(domain: str) -> None:
    rows = [(t.mode, t.domain) for t in tallies(outcomes())]
    assert [(m, domain) for m in ("generate", "verbatim", "quote")] == [
        row for row in rows if row[1] == domain
    ]
