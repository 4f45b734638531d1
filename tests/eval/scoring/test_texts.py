"""Texts compared by their words."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from eval.scoring.texts import (
    holds,
    length_ratio,
    rouge_l,
    squad_exact,
    squad_f1,
    without_signature,
    without_template,
    words,
)

WORDS = st.lists(st.sampled_from("the cat sat on a mat".split()), max_size=8)


def test_markers_case_and_punctuation_do_not_count() -> None:
    assert words("[1] The CAT, [2, 3] sat.") == ["the", "cat", "sat"]


@pytest.mark.parametrize(
    ("answer", "expected", "score"),
    [
        ("[1] It lasts nine months.", "nine months", 1.0),
        ("nine long months", "nine months", 0.0),
        ("", "nine months", 0.0),
        ("", "", 1.0),
    ],
)
def test_what_is_expected_stands_in_the_answer_in_one_piece(
    answer: str, expected: str, score: float
) -> None:
    assert holds(answer, expected) == score


def test_rouge_l_of_the_papers_example() -> None:
    """Lin 2004, section 3.1: S1 with S2 and S3, beta 1."""
    reference = "police killed the gunman"
    assert rouge_l("police kill the gunman", reference) == 0.75
    assert rouge_l("the gunman kill police", reference) == 0.5


@given(WORDS, WORDS)
def test_rouge_l_is_between_none_and_all_and_the_same_both_ways(
    one: list[str], other: list[str]
) -> None:
    score = rouge_l(" ".join(one), " ".join(other))
    assert 0 <= score <= 1
    assert score == pytest.approx(rouge_l(" ".join(other), " ".join(one)))
    assert (score == 1) == (one == other)


def test_the_length_ratio_counts_words() -> None:
    assert length_ratio("one two three", "one two") == 1.5


@pytest.mark.parametrize(
    ("answer", "expected", "exact", "f1"),
    [
        ("The Panthers!", ["panthers"], 1.0, 1.0),
        ("in 1891", ["1891", "the year 1891"], 0.0, 2 / 3),
        ("a b", ["b c d"], 0.0, 0.5),
        ("", [""], 1.0, 1.0),
        ("the", [""], 1.0, 1.0),
        ("nothing", [""], 0.0, 0.0),
        ("b b", ["b"], 0.0, 2 / 3),
    ],
)
def test_spans_score_as_in_squads_own_script(
    answer: str, expected: list[str], exact: float, f1: float
) -> None:
    """Lower case, punctuation, articles and space; the best of the answers (evaluate-v1.1.py)."""
    assert squad_exact(answer, expected) == exact
    assert squad_f1(answer, expected) == pytest.approx(f1)


@pytest.mark.parametrize(
    "signature",
    [
        "",
        " Regards, Chat Doctor.",
        " Thanks. Dr. Anna Finch",
        " Take care, Dr. Finch.",
        " ChatDoctor",
    ],
)
def test_a_signature_is_taken_off(signature: str) -> None:
    assert without_signature(f"See a doctor tomorrow.{signature}") == "See a doctor tomorrow."


@pytest.mark.parametrize("text", ["Ask Dr. Finch about it.", "Thanks to rest it healed."])
def test_what_is_no_signature_stays(text: str) -> None:
    assert without_signature(text) == text


def test_marks_of_a_chat_template_are_taken_off() -> None:
    assert without_template("[INST] Yes.</s><|im_end|>") == "Yes."
