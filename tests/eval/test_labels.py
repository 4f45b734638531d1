"""Label rows as chat turns, drawn and ranked the same way every time."""

import json
import random
from pathlib import Path

import numpy as np
import pytest

from eval.labels import Example, draw, rank, read_examples, turns
from indexer.errors import BadInput

EXAMPLES = [Example(f"text {n}", f"label_{n}") for n in range(50)]


def test_examples_come_before_the_text_as_user_and_assistant_turns() -> None:
    messages = turns(EXAMPLES[:2], "what now?")
    assert [m["role"] for m in messages] == ["user", "assistant", "user", "assistant", "user"]
    assert messages[0]["content"] == "Text: text 0\nLabel:"
    assert messages[1]["content"].strip() == "label_0"
    assert messages[-1]["content"] == "Text: what now?\nLabel:"


def test_without_examples_there_is_only_the_text() -> None:
    assert len(turns([], "what now?")) == 1


def test_a_seed_draws_the_same_rows() -> None:
    first, second = (draw(EXAMPLES, 10, random.Random(3)) for _ in range(2))
    assert first == second
    assert len(set(first)) == 10
    assert len(draw(EXAMPLES, 99, random.Random(3))) == len(EXAMPLES)


def test_the_nearest_row_comes_last() -> None:
    pool = np.eye(3, dtype=np.float32)
    test = np.array([[0.1, 0.9, 0.5]], dtype=np.float32)
    assert rank(pool, test, 2) == [[2, 1]]


def test_a_row_without_a_label_is_named_by_its_line(tmp_path: Path) -> None:
    file = tmp_path / "train.jsonl"
    rows = [{"text": "a", "label": "b"}, {"text": "a"}]
    file.write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
    with pytest.raises(BadInput, match=r"train\.jsonl:2"):
        read_examples(file)
