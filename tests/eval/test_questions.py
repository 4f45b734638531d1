"""Reading questions: what is wrong is named by file and line."""

import json
from pathlib import Path
from typing import Any

import pytest

from eval.questions import read_all_questions, read_questions
from indexer.errors import BadInput

DOMAINS = Path(__file__).parents[2] / "deploy" / "demo" / "domains"
ROW = {"id": "q1", "question": "Why?", "document": "a.md", "sentence": "So."}


def write(folder: Path, *rows: dict[str, Any] | str) -> Path:
    folder.mkdir(exist_ok=True)
    file = folder / "questions.jsonl"
    lines = [row if isinstance(row, str) else json.dumps(row) for row in rows]
    file.write_text("\n".join(lines), encoding="utf-8")
    return file


def test_the_folder_names_the_domain_and_null_means_unanswerable(tmp_path: Path) -> None:
    unanswerable = {**ROW, "id": "q2", "document": None, "sentence": None}
    first, second = read_questions(write(tmp_path / "law", ROW, "", unanswerable))
    assert (first.domain, first.document, first.sentence) == ("law", "a.md", "So.")
    assert (second.document, second.sentence) == (None, None)


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ("{not json", "questions.jsonl:2 is not JSON"),
        ("[1]", "questions.jsonl:2 is not a JSON object"),
        ({"id": "q", "question": "?", "document": None}, "questions.jsonl:2 lacks 'sentence'"),
        ({**ROW, "sentence": None}, "questions.jsonl:2: document and sentence go together"),
    ],
)
def test_a_bad_row_is_named_by_its_line(tmp_path: Path, row: Any, message: str) -> None:
    with pytest.raises(BadInput, match=message):
        read_questions(write(tmp_path / "law", ROW, row))


def test_a_folder_without_questions_is_named(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match=str(tmp_path)):
        read_all_questions(tmp_path)


def test_the_example_questions_have_ids_of_their_own_and_some_have_no_answer() -> None:
    questions = read_all_questions(DOMAINS)
    assert len({q.id for q in questions}) == len(questions)
    assert sum(q.document is None for q in questions) >= 20
    assert sum(q.document is not None for q in questions) >= 60
