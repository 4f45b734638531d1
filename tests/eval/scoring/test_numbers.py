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
    ("#### 1\u202f234", "1234", "hashes"),
    ("#### 1 234", "1234", "hashes"),
    ("#### 1 234 567", "1234567", "hashes"),
    (r"#### \$1,234.50", "1234.5", "hashes"),
    (r"\boxed{\$1{,}234.50}", "1234.5", "boxed"),
    (r"\boxed{-\frac{1}{2}}", "-0.5", "boxed"),
    (r"\boxed{3\frac{1}{2}}", "3.5", "boxed"),
    (r"\boxed{3 \frac{1}{2}}", "3.5", "boxed"),
    (r"\boxed{\frac12}", "0.5", "boxed"),
    (r"\boxed{18}\text{ eggs}", "18", "boxed"),
    (r"\boxed{x = 18}", "18", "boxed"),
    (r"\boxed{18 \%}", "18", "boxed"),
    (r"\boxed{\text{18 eggs}}", "18", "boxed"),
    (r"\boxed{\mathbf{18}}", "18", "boxed"),
    (r"\boxed{ 18 }$ eggs per day over 7 days", "18", "boxed"),
    (r"The answer is \(18\).", "18", "said"),
    ("The answer is $18$.", "18", "said"),
    (r"The answer is $\$18$.", "18", "said"),
    ("The answer is **$18**.", "18", "said"),
    ("The answer is `18`.", "18", "said"),
    ("The answer is _18_ eggs.", "18", "said"),
    ("The answer is 18 because 20 - 2 = 18.", "18", "said"),
    ("The answer is 18 because 9 times 2 makes 18, and 3 remain", "18", "said"),
    ("The answer is not 17 but 18.", "18", "said"),
    ("The answer is 18 and not 17.", "18", "said"),
    ("The answer is therefore 18 dollars per day for 7 days.", "18", "said"),
    ("The answer is 18 out of 20.", "18", "said"),
    ("So the answer is (18).", "18", "said"),
    ("Answer: (9 + 9) = 18", "18", "said"),
    ("Answer:\n18", "18", "said"),
    ("**Answer:**\n\n18 eggs", "18", "said"),
    ("**Answer**: 18 eggs in 3 days", "18", "said"),
    ("**Answer:**\n- 18 eggs\n- 3 days", "18", "said"),
    (r"The answer is \(18\). It costs 5 each.", "18", "said"),
    ("Final Answer: The final answer is 18. I hope it is correct.", "18", "said"),
    (r"The final answer is $\boxed{18}$", "18", "boxed"),
    ("The answer is 18%.", "18", "said"),
    ("The answer is minus 18.", "-18", "said"),
    ("The answer is negative 18.", "-18", "said"),
    ("The answer is (-18).", "-18", "said"),
    ("The answer is -18.", "-18", "said"),
    ("The answer is (18). It costs 5 each.", "18", "said"),
    ("The answer is - 18.", "-18", "said"),
    ("#### - 18", "-18", "hashes"),
    ("#### –18", "-18", "hashes"),  # noqa: RUF001
    ("#### ($18)", "18", "hashes"),
    ("#### 18.0%", "18", "hashes"),
    ("#### 18 %", "18", "hashes"),
    ("#### 1.5 million", "1500000", "hashes"),
    ("#### 1.8e1", "18", "hashes"),
    ("#### 1.8 x 10^1", "18", "hashes"),
    ("#### 1.8 × 10^3", "1800", "hashes"),  # noqa: RUF001
    (r"\boxed{1.8 \times 10^{3}}", "1800", "boxed"),
    ("#### 18/1", "18", "hashes"),
    ("#### ½", "0.5", "hashes"),
    ("#### 3½", "3.5", "hashes"),
    ("#### 50¢", "50", "hashes"),
    ("#### £18", "18", "hashes"),
    ("#### 18€", "18", "hashes"),
    ("#### USD 18", "18", "hashes"),
    ("#### US$18", "18", "hashes"),
    ("#### Rs. 18", "18", "hashes"),
    ("#### 18kg", "18", "hashes"),
    ("#### 18 km/h", "18", "hashes"),
    ("#### 18:00", "18", "hashes"),
    ("#### 18th", "18", "hashes"),
    ("#### 18 years old", "18", "hashes"),
    ("#### 18<br>", "18", "hashes"),
    ("#### 18</s>", "18", "hashes"),
    ("#### 18<|im_end|>", "18", "hashes"),
    ("#### 18 \n\nNote that 20 would be wrong", "18", "hashes"),
    ("<answer>18</answer>", "18", "last"),
    ("A: 18", "18", "said"),
    ("Total: $18", "18", "said"),
    ("= 18", "18", "last"),
    ("The total cost is $1,018 (that is $1,000 + $18).", "1018", "last"),
    ("Therefore, she makes 18 dollars every day. (16 - 3 - 4 = 9 and 9 * 2 = 18)", "18", "last"),
    ("She makes $18 (9 eggs at $2).", "18", "last"),
    ("She makes 9 * 2 = $18 every day at the market.", "18", "last"),
    ("She makes 9 * 2 = <<9*2=18>>18 dollars.", "18", "last"),
    ("Step 1: 9. Step 2: 18.", "18", "last"),
    ("1. She has 9.\n2. She sells them for 18", "18", "last"),
    ("So, 18 people came in 2023... wait, the answer is 18.", "18", "said"),
    ("18 dollars", "18", "last"),
    ("18 dollars.", "18", "last"),
    ("18.", "18", "last"),
    ("$18.", "18", "last"),
    ("-18", "-18", "last"),
    ("18 - that is it", "18", "last"),
    ("eighteen", "18", "spelled"),
    ("The answer is eighteen.", "18", "spelled"),
    ("The answer is twenty-five dollars", "25", "spelled"),
    ("The answer is zero.", "0", "spelled"),
    ("#### 0", "0", "hashes"),
    ("#### 00018", "18", "hashes"),
    ("#### +18", "18", "hashes"),
    ("The answer is 18 + 0 = 18", "18", "said"),
    ("The answer is 20-2=18", "18", "said"),
    ("The answer is 20 - 2 = 18, i.e. 18 eggs", "18", "said"),
    ("The answer is approximately 18.33", "18.33", "said"),
    ("The answer is about $1.2k", "1200", "said"),
    (r"The answer is: \[ 18 \]", "18", "said"),
    (r"The answer is \frac{36}{2} = 18", "18", "said"),
    ("The correct answer is 18", "18", "said"),
    ("The answers are 18", "18", "last"),
    ("answer=18", "18", "said"),
    ("The answer would be 18", "18", "last"),
    ("The answer should be 18.", "18", "last"),
    ("Her total is $18.", "18", "said"),
    ("Hence the result equals 18", "18", "last"),
    ("x=18, y=2. The answer is x, 18.", "18", "said"),
    ("It takes 3 days, 18 hours in total", "18", "last"),
    ("#### 18 hours 30 minutes", "18", "hashes"),
    ("#### 1,234,567", "1234567", "hashes"),
    ("#### 1,23", "1", "hashes"),
    ("#### 12,345.678", "12345.678", "hashes"),
    ("#### 18,", "18", "hashes"),
    ("#### 18;", "18", "hashes"),
    ("####: 18", "18", "hashes"),
    ("#### Answer: 18", "18", "hashes"),
    ("#### The answer is 18", "18", "hashes"),
    ("#### Answer 18", "18", "hashes"),
    ("### 18", "18", "last"),
    ("#### Final Answer\n18", "18", "last"),
    ("#### Step 1\n5 + 5 = 10\n#### Step 2\n10 + 8 = 18\nThe answer is 18.", "18", "said"),
]


@pytest.mark.parametrize(("answer", "number", "rule"), FORMS, ids=[form[0] for form in FORMS])
def test_the_number_is_found_however_it_is_written(answer: str, number: str, rule: str) -> None:
    found = find_number(answer)
    assert found is not None
    assert (found.value, found.rule) == (Decimal(number), rule)


def test_lm_eval_is_agreed_with_wherever_it_is_right() -> None:
    """Where either of its two ways reads the right number, so do we; both miss some."""
    right = {"strict": 0, "flexible": 0}
    for answer, number, _ in FORMS:
        found = find_number(answer)
        for name, read in (("strict", lm_eval_strict), ("flexible", lm_eval_flexible)):
            if read(answer) == number:
                right[name] += 1
                assert found is not None
                assert found.value == Decimal(number)
    assert 20 < right["strict"] < len(FORMS) / 4
    assert len(FORMS) / 2 < right["flexible"] < 0.8 * len(FORMS)


@pytest.mark.parametrize(
    "answer",
    [
        "They all left, none of the seven came back.",
        "It is one of those that nobody has ever counted",
    ],
)
def test_a_word_in_passing_is_no_answer(answer: str) -> None:
    assert find_number(answer) is None


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
