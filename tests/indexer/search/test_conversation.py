"""A question that leans on what was said before is looked up with it, one that stands alone not."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from indexer.search.conversation import EARLIER, LONGEST, Turn, search_text, stands_alone

TALK: list[Turn] = [
    ("user", "What is the lead time for LC-40 load cells?"),
    ("assistant", "Six weeks."),
    ("user", "And for the LC-60?"),
]


@pytest.mark.parametrize(
    "question",
    [
        "And for the LC-60?",
        "How long does it take?",
        "Why?",
        "Until when?",
        "What if I stay with friends instead?",
        "Can they cancel the whole agreement early?",
    ],
)
def test_what_points_back_or_says_little_does_not_stand_alone(question: str) -> None:
    assert not stands_alone(question)


@pytest.mark.parametrize(
    "question",
    [
        "How long does a full descaling cycle take?",
        "Who approves salaries above £95,000?",
        "What is the capital city of Mongolia?",
    ],
)
def test_a_whole_question_stands_alone(question: str) -> None:
    assert stands_alone(question)


def test_a_long_question_says_enough_and_is_never_said_twice_in_full() -> None:
    long = f"And why is it so? {'word ' * LONGEST}"
    assert stands_alone(long)
    text = search_text([*TALK[:2], ("user", long)], "questions")
    assert len(text) <= len(long) + 2 * LONGEST + 2


def test_each_setting_takes_along_what_it_says() -> None:
    first, answer, last = (text for _, text in TALK)
    assert search_text(TALK, "none") == last
    assert search_text(TALK, "auto") == f"{last} {first} {last}"
    assert search_text(TALK, "questions") == f"{last} {first} {last}"
    assert search_text(TALK, "turns") == f"{last} {first} {answer} {last}"
    whole: list[Turn] = [*TALK[:2], ("user", "Who approves salaries above £95,000?")]
    assert search_text(whole, "auto") == whole[-1][1]
    assert first in search_text(whole, "questions")


def test_only_a_few_turns_are_remembered_and_no_long_one_wholly() -> None:
    turns: list[Turn] = [("user", f"question {n} {'x' * 2 * LONGEST}") for n in range(9)]
    text = search_text([*turns, ("user", "And now?")], "questions")
    assert len(text) <= EARLIER * (LONGEST + 1) + 2 * len(" And now?")
    assert "question 8" in text
    assert "question 5" not in text


@given(st.lists(st.text(max_size=30), min_size=1, max_size=7), st.sampled_from(["auto", "turns"]))
def test_the_question_comes_first_and_the_first_question_is_looked_up_as_it_is(
    said: list[str], history: str
) -> None:
    turns: list[Turn] = [("assistant" if n % 2 else "user", text) for n, text in enumerate(said)]
    assert search_text(turns, history).startswith(said[-1])  # type: ignore[arg-type]
    assert search_text(turns[:1], history) == said[0]  # type: ignore[arg-type]
