"""The number of an answer is found however it is written."""

import gzip
import json
from decimal import Decimal
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from eval.scoring.numbers import find_number, lm_eval_flexible, lm_eval_strict, same_number

GSM8K = Path(__file__).parents[4] / "shared" / "data" / "gsm8k"

FORMS = [
    ("18", "18", "last"),
    ("#### 18", "18", "hashes"),
    ("####18", "18", "hashes"),
    ("9 + 9 = 18\n#### 18", "18", "hashes"),
    ("#### 18.", "18", "hashes"),
    ("#### 18.00", "18", "hashes"),
    ("#### $18", "18", "hashes"),
    ("#### $18.50", "18.5", "hashes"),
    ("#### 18 dollars", "18", "hashes"),
    ("#### 18 (9 + 9 = 18 eggs in 2 days)", "18", "hashes"),
    ("#### 18, which is the sum of 9 and 9.", "18", "hashes"),
    ("#### 18\n\nQuestion 2: How many are 5 and 5?\n#### 10", "18", "hashes"),
    ("#### 1,234", "1234", "hashes"),
    ("#### 1,234,567.89", "1234567.89", "hashes"),
    ("#### -7", "-7", "hashes"),
    ("#### −7", "-7", "hashes"),  # noqa: RUF001
    ("#### -$7", "-7", "hashes"),
    ("#### $-7", "-7", "hashes"),
    ("#### 25%", "25", "hashes"),
    ("#### 1/2", "0.5", "hashes"),
    ("#### 3 1/4", "3.25", "hashes"),
    ("#### .5", "0.5", "hashes"),
    ("#### **18**", "18", "hashes"),
    ("#### 9 + 9 = 18", "18", "hashes"),
    ("First #### 12 then, corrected, #### 18", "18", "hashes"),
    (r"So \boxed{18}.", "18", "boxed"),
    (r"\[\boxed{\$18}\]", "18", "boxed"),
    (r"$\boxed{18\text{ eggs}}$", "18", "boxed"),
    (r"\boxed{\frac{1}{2}}", "0.5", "boxed"),
    (r"\boxed{\dfrac{3}{4}}", "0.75", "boxed"),
    (r"\boxed{1{,}234}", "1234", "boxed"),
    (r"It is \boxed{12}, no: \boxed{18}", "18", "boxed"),
    ("The answer is 18.", "18", "said"),
    ("The answer is: 18", "18", "said"),
    ("The final answer is $18.00", "18", "said"),
    ("Answer: 18 dollars... done...", "18", "said"),
    ("**Answer:** 18", "18", "said"),
    ("The answer is 18 (9 from each of 2 days).", "18", "said"),
    ("The answer is 9 + 9 = 18.", "18", "said"),
    ("The total is 18, in 3 days.", "18", "said"),
    ("So she makes 18 dollars... done...", "18", "last"),
    ("She sells 9 for $2 each, which makes $18 a day.", "18", "last"),
    ("She has 18 (9 and 9).", "18", "last"),
    ("It costs €1.5 million", "1500000", "last"),
    ("About 2k", "2000", "last"),
    ("It is 18°C", "18", "last"),
    ("18 eggs", "18", "last"),
    ("x = 18", "18", "last"),
    ("(18)", "18", "last"),
    ("- 18 eggs", "18", "last"),
    ("It takes 16-18 days", "18", "last"),
    ("He is down to -18", "-18", "last"),
]


@pytest.mark.parametrize(("answer", "number", "rule"), FORMS, ids=[form[0] for form in FORMS])
def test_the_number_is_found_however_it_is_written(answer: str, number: str, rule: str) -> None:
    found = find_number(answer)
    assert found is not None
    assert (found.value, found.rule) == (Decimal(number), rule)


@pytest.mark.parametrize("answer", ["", "I do not know.", "####", "\\boxed{}", "Question 2: 5?"])
def test_no_number_is_found_where_there_is_none(answer: str) -> None:
    found = find_number(answer)
    assert found is None or answer.startswith("Question")


def test_numbers_are_compared_as_numbers() -> None:
    assert same_number("The answer is $1,200.00.", "#### 1200")
    assert not same_number("#### 12", "#### 1200")
    assert not same_number("no idea", "#### 1200")


@given(st.text(max_size=200))
def test_any_text_gives_a_number_or_none_in_no_time(text: str) -> None:
    found = find_number(text)
    assert found is None or found.value.is_finite()
    lm_eval_strict(text)
    lm_eval_flexible(text)


@given(st.integers(-(10**12), 10**12), st.sampled_from(["{}", "{:,}", "{}.0", "{:,}.00"]))
def test_every_whole_number_is_read_back(number: int, form: str) -> None:
    found = find_number(f"#### {form.format(number)}")
    assert found is not None
    assert found.value == number


@pytest.mark.skipif(not GSM8K.is_dir(), reason="the public data sets lie outside a clone")
def test_every_published_answer_is_read_and_agrees_with_lm_eval() -> None:
    text = (GSM8K / "test_first200.jsonl").read_text(encoding="utf-8")
    rows = [json.loads(line) for line in text.splitlines()]
    with gzip.open(GSM8K / "train.jsonl.gz", "rt", encoding="utf-8") as lines:
        rows += [json.loads(line) for line in lines]
    for row in rows:
        found, strict = find_number(row["answer"]), lm_eval_strict(row["answer"])
        assert found is not None, row["answer"]
        assert strict is not None, row["answer"]
        assert (found.rule, found.value) == ("hashes", Decimal(strict)), row["answer"][-40:]
