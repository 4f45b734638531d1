"""Training rows: what is read, what a row becomes, and what is refused."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from adapters.training.rendering import (
    Rendering,
    TokenRow,
    batches,
    read_rows,
    render,
    trained_with,
)
from indexer.errors import BadInput

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

ASK = {"role": "user", "content": "How often?"}
SAY = {"role": "assistant", "content": "[2] Dry it well."}
DOCUMENTS = [["Rinse it weekly.", "Dry it well."], ["Order a new one."]]


def write_rows(path: Path, *rows: Any) -> Path:
    lines = [row if isinstance(row, str) else json.dumps(row) for row in rows]
    path.write_text("\n".join(lines), encoding="utf-8")
    return path


def rendering(tokenizer: "PreTrainedTokenizerBase", system: str = "") -> Rendering:
    assert isinstance(tokenizer.eos_token_id, int)
    return Rendering("sentences", system, "Not said.", frozenset({tokenizer.eos_token_id}))


def test_a_row_is_read_with_its_passages_in_order(tmp_path: Path) -> None:
    (row,) = read_rows(
        write_rows(tmp_path / "r.jsonl", {"messages": [ASK, SAY], "passages": DOCUMENTS})
    )
    assert row.answer == "[2] Dry it well."
    assert [list(passage.sentence_texts()) for passage in row.passages] == DOCUMENTS
    assert row.place.endswith("r.jsonl:1")


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("{", "JSON"),
        ("[]", "object"),
        ({"no": "row"}, "messages"),
        ({"messages": [SAY]}, "no user's question"),
        ({"messages": [SAY, ASK]}, "not the assistant's"),
        ({"messages": [ASK, {"role": "assistant", "content": "  "}]}, "answer is empty"),
        ({"messages": [ASK, {"role": "tool", "content": "a"}]}, "message 1 has the role 'tool'"),
        ({"messages": [ASK, SAY], "passages": ["text"]}, "lists of sentences"),
    ],
)
def test_a_broken_row_names_file_line_and_field(tmp_path: Path, line: Any, words: str) -> None:
    path = write_rows(tmp_path / "r.jsonl", {"messages": [ASK, SAY]}, "", line)
    with pytest.raises(BadInput, match=words) as caught:
        read_rows(path)
    assert f"{path}:3" in caught.value.message


def test_a_file_without_rows_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="has no rows"):
        read_rows(write_rows(tmp_path / "r.jsonl", "", " "))


def test_a_file_that_is_missing_or_no_text_is_named(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match=r"none\.jsonl"):
        read_rows(tmp_path / "none.jsonl")
    (tmp_path / "r.jsonl").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(BadInput, match=r"r\.jsonl"):
        read_rows(tmp_path / "r.jsonl")


def test_what_rows_carry_is_recorded(tmp_path: Path) -> None:
    plain = read_rows(write_rows(tmp_path / "a.jsonl", {"messages": [ASK, SAY]}))
    rich = read_rows(
        write_rows(tmp_path / "b.jsonl", {"messages": [ASK, SAY, ASK, SAY], "passages": DOCUMENTS})
    )
    assert trained_with(plain).model_dump() == {"demonstrations": False, "passages": False}
    assert trained_with(rich).model_dump() == {"demonstrations": True, "passages": True}


def test_a_row_becomes_the_tokens_of_the_served_prompt_and_then_the_answer(
    tmp_path: Path, tokenizer: "PreTrainedTokenizerBase"
) -> None:
    (row,) = read_rows(
        write_rows(tmp_path / "r.jsonl", {"messages": [ASK, SAY], "passages": DOCUMENTS})
    )
    tokens = render(row, rendering(tokenizer, "Be brief."), tokenizer)
    asked, answer = tokens.tokens[: tokens.answer_start], tokens.tokens[tokens.answer_start :]
    assert tokenizer.decode(asked) == (
        "<s><|system|>Be brief.</s><|user|>Question: How often?\nDocuments:\n"
        "[1] Rinse it weekly.[/1][2] Dry it well.[/2]\n[3] Order a new one.[/3]\n"
        "Question: How often?</s><|assistant|>"
    )
    assert tokenizer.decode(answer) == "[2] Dry it well.</s>"
    assert tokens.tokens.count(tokenizer.convert_tokens_to_ids("<s>")) == 1


def one_row(tmp_path: Path, answer: str = "Weekly.") -> Any:
    turns = [ASK, {"role": "assistant", "content": answer}]
    return read_rows(write_rows(tmp_path / "r.jsonl", {"messages": turns}))[0]


def test_what_a_template_writes_after_the_end_token_is_not_trained(
    tmp_path: Path, tokenizer: "PreTrainedTokenizerBase"
) -> None:
    assert isinstance(tokenizer.chat_template, str)
    tokenizer.chat_template = tokenizer.chat_template.replace("'</s>'", "'</s>\n'")
    tokens = render(one_row(tmp_path), rendering(tokenizer), tokenizer)
    assert tokenizer.decode(tokens.tokens[tokens.answer_start :]) == "Weekly.</s>"


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("+ '</s>'", "", "does not end an answer"),
        ("m['content']", "(m['content'] if messages|length == 1 else 'gone')", "differently"),
        ("'<s>'", "'<s><s>'", "begin tokens"),
    ],
)
def test_a_template_that_would_mislead_training_is_refused(
    tmp_path: Path, tokenizer: "PreTrainedTokenizerBase", old: str, new: str, words: str
) -> None:
    assert isinstance(tokenizer.chat_template, str)
    assert old in tokenizer.chat_template
    tokenizer.chat_template = tokenizer.chat_template.replace(old, new)
    with pytest.raises(BadInput, match=words):
        render(one_row(tmp_path), rendering(tokenizer), tokenizer)


@given(st.integers(1, 40), st.integers(1, 9), st.integers(0, 3))
def test_batches_repeat_by_seed_and_take_every_row_once_an_epoch(
    count: int, size: int, seed: int
) -> None:
    rows = [(TokenRow(tuple(range(number % 7 + 2)), 1),) for number in range(count)]
    drawn = [batches(rows, size, seed) for _ in range(2)]
    per_epoch = -(-count // size)
    epochs = [[next(source) for _ in range(2 * per_epoch)] for source in drawn]
    assert epochs[0] == epochs[1]
    first = [row for batch in epochs[0][:per_epoch] for row in batch]
    assert sorted(map(repr, first)) == sorted(map(repr, rows))
