"""The letter of a multiple choice is read where it is given, never guessed."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from eval.scoring.choices import find_choice

CHOICES = ["nine", "twelve", "nine days", "none of these"]


@pytest.mark.parametrize(
    ("answer", "letter", "rule"),
    [
        ("B", "B", "first"),
        ("(B)", "B", "first"),
        ("B.", "B", "first"),
        ("B) twelve", "B", "first"),
        ("B: twelve", "B", "first"),
        ("**B**", "B", "first"),
        (r"\boxed{B}", "B", "first"),
        (r"\boxed{\text{B}}", "B", "first"),
        ("<answer>B</answer>", "B", "first"),
        ("Option B", "B", "first"),
        ("B, since it is so", "B", "first"),
        ("B because of that", "B", "first"),
        ("B\n\nIt is twelve.", "B", "first"),
        ("The answer is (B).", "B", "said"),
        ("The answer is b", "B", "said"),
        ("Answer: B", "B", "said"),
        ("The correct answer is B. twelve", "B", "said"),
        ("First I thought the answer is A. No, the answer is B.", "B", "said"),
        ("I would choose B", "B", "said"),
        ("It is B.", "B", "said"),
        ("twelve", "B", "text"),
        ("It is twelve.", "B", "text"),
        ("Nine", "A", "text"),
        ("After a while I think nine days", "C", "text"),
        ("The answer is a nine", "A", "text"),
        ("None of these.", "D", "text"),
    ],
)
def test_a_choice_is_read_however_it_is_given(answer: str, letter: str, rule: str) -> None:
    found = find_choice(answer, CHOICES)
    assert found is not None
    assert (found.letter, found.rule) == (letter, rule)


@pytest.mark.parametrize(
    "answer",
    ["", "E", "A man came", "nine or twelve", "Both B and C", "I do not know", "the answer is a"],
)
def test_what_is_no_choice_is_not_guessed(answer: str) -> None:
    assert find_choice(answer, CHOICES) is None


@given(st.text(max_size=200), st.lists(st.text(max_size=20), min_size=2, max_size=6))
def test_any_text_gives_a_letter_that_is_offered_or_none(answer: str, choices: list[str]) -> None:
    found = find_choice(answer, choices)
    assert found is None or found.letter in "ABCDEF"[: len(choices)]
