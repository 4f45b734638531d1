"""Held-out questions of the domains: `questions.jsonl` beside each `domain.toml`."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from indexer.errors import BadInput

FILE_NAME = "questions.jsonl"
FIELDS = ("id", "question", "document", "sentence")


@dataclass(frozen=True, slots=True)
class Question:
    """`document` and `sentence` answer it; both None: no document does."""

    id: str
    domain: str
    question: str
    document: str | None
    sentence: str | None


def read_all_questions(domains: Path) -> list[Question]:
    """Questions of every domain folder that has some, by domain name."""
    files = sorted(domains.glob(f"*/{FILE_NAME}"))
    if not files:
        raise BadInput(f"No {FILE_NAME} under {domains}", "Give the folder of domains by --domains")
    return [question for file in files for question in read_questions(file)]


def read_questions(file: Path) -> list[Question]:
    """The file's questions; the folder's name is the domain's."""
    return [_question(file, number, row) for number, row in read_rows(file)]


def read_rows(file: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    """The JSON objects of a JSONL file with their line numbers; empty lines are passed over."""
    try:
        lines = file.read_text(encoding="utf-8").split("\n")  # U+2028 ends no line
    except (OSError, UnicodeDecodeError) as error:
        raise BadInput(f"{file} cannot be read: {error}", "Check the path") from error
    for number, line in enumerate(lines, 1):
        if line.strip():
            yield number, _row(file, number, line)


def _row(file: Path, number: int, line: str) -> dict[str, Any]:
    try:
        row = json.loads(line)
    except json.JSONDecodeError as error:
        raise BadInput(f"{file}:{number} is not JSON: {error}") from error
    if not isinstance(row, dict):
        raise BadInput(f"{file}:{number} is not a JSON object")
    return row


def _question(file: Path, number: int, row: dict[str, Any]) -> Question:
    missing = [name for name in FIELDS if name not in row]
    if missing:
        raise BadInput(f"{file}:{number} lacks {missing[0]!r}", f"Each row has {', '.join(FIELDS)}")
    if (row["document"] is None) != (row["sentence"] is None):
        raise BadInput(f"{file}:{number}: document and sentence go together", "Give both, or null")
    return Question(domain=file.parent.name, **{name: row[name] for name in FIELDS})
