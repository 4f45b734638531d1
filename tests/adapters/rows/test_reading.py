"""Examples in the forms that teams have: read alike, and what is wrong is said by its line."""

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from adapters.rows.example import Example, Fault
from adapters.rows.reading import read_examples
from indexer.errors import BadInput

USER = {"role": "user", "content": "When?"}
ANSWER = {"role": "assistant", "content": "At noon."}


def read(tmp_path: Path, *rows: Any, name: str = "rows.jsonl") -> list[Example | Fault]:
    path = tmp_path / name
    lines = [row if isinstance(row, bytes) else json.dumps(row).encode() for row in rows]
    path.write_bytes(b"\n".join(lines))
    return list(read_examples(path))


@pytest.mark.parametrize(
    "row",
    [
        {"messages": [USER, ANSWER]},
        {
            "conversations": [
                {"from": "human", "value": "When?"},
                {"from": "gpt", "value": "At noon."},
            ]
        },
        {"prompt": "When?", "completion": "At noon."},
        {"question": "When?", "answer": "At noon."},
        {"instruction": "When?", "output": "At noon."},
        {"text": "When?", "label": "At noon."},
    ],
)
def test_every_form_of_a_question_and_its_answer_reads_alike(
    tmp_path: Path, row: dict[str, Any]
) -> None:
    (found,) = read(tmp_path, row)
    assert isinstance(found, Example)
    assert found.row() == {"messages": [USER, ANSWER]}


def test_an_instructions_input_stands_below_it(tmp_path: Path) -> None:
    (found,) = read(tmp_path, {"instruction": "Sum up.", "input": "Long.", "output": "Short."})
    assert isinstance(found, Example)
    assert found.question == "Sum up.\n\nLong."


@pytest.mark.parametrize(
    "row",
    [
        {"prompt": "When?", "chosen": "At noon.", "rejected": "No."},
        {"prompt": [USER], "chosen": [ANSWER], "rejected": [{**ANSWER, "content": "No."}]},
        {"chosen": [USER, ANSWER], "rejected": [USER, {**ANSWER, "content": "No."}]},
    ],
)
def test_every_form_of_a_preference_reads_alike(tmp_path: Path, row: dict[str, Any]) -> None:
    (found,) = read(tmp_path, row)
    assert isinstance(found, Example)
    assert (found.kind, found.question, found.answer, found.worse) == (
        "preference",
        "When?",
        "At noon.",
        "No.",
    )


def test_plain_text_is_one_example_per_line_or_file(tmp_path: Path) -> None:
    rows = read(tmp_path, {"text": "One."}, {"text": "Two."})
    whole = read(tmp_path, b"All of it.\n", name="book.txt")
    assert [one.answer for one in [*rows, *whole] if isinstance(one, Example)] == [
        "One.",
        "Two.",
        "All of it.",
    ]


@pytest.mark.parametrize(
    ("row", "kind", "said"),
    [
        (b"{", "json", "no JSON"),
        (b"\xff{}", "encoding", "byte 0"),
        (b"[1]", "form", "a JSON list"),
        (b"[" * 100_000, "json", "no JSON"),
        ({"a": 1}, "form", "keys a. Known: `messages`"),
        ({"messages": []}, "form", "empty"),
        ({"messages": [USER]}, "form", "not the assistant's"),
        ({"messages": [{**USER, "role": "bot"}, ANSWER]}, "role", "'bot'; known: system"),
        ({"messages": [{"role": "user", "content": [1]}, ANSWER]}, "form", "message 0 has no text"),
        ({"question": "When?", "answer": 12}, "form", "`answer` is int"),
        ({"messages": [USER, ANSWER], "passages": ["a"]}, "form", "lists of sentences"),
        ({"chosen": [USER, ANSWER], "rejected": [ANSWER]}, "form", "do not answer the same"),
    ],
)
def test_what_is_wrong_is_said_with_its_line_and_the_others_are_read(
    tmp_path: Path, row: Any, kind: str, said: str
) -> None:
    good = {"question": "When?", "answer": "At noon."}
    first, wrong, last = read(tmp_path, good, row, good)
    assert isinstance(first, Example)
    assert isinstance(last, Example)
    assert isinstance(wrong, Fault)
    assert (wrong.place, wrong.kind) == ("rows.jsonl:2", kind)
    assert said in wrong.reason


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    for name in ("none.jsonl", "none.txt"):
        with pytest.raises(BadInput, match=name):
            list(read_examples(tmp_path / name))


_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                ["messages", "role", "content", "prompt", "chosen", "rejected", "text"]
            ),
            inner,
            max_size=4,
        )
    ),
    max_leaves=12,
)


@given(_JSON)
def test_any_json_is_an_example_or_a_fault(tmp_path_factory: Any, value: Any) -> None:
    path = tmp_path_factory.mktemp("any") / "rows.jsonl"
    path.write_text(json.dumps(value) + "\n", "utf-8")
    (found,) = read_examples(path)
    assert isinstance(found, Example | Fault)
    if isinstance(found, Example):
        again = path.with_name("again.jsonl")
        again.write_text(json.dumps(found.row()), "utf-8")
        (same,) = read_examples(again)
        assert isinstance(same, Example)
        assert same.digest == found.digest
