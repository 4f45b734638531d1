"""The solved examples of a domain: JSONL in chat format, a question and its answer per line."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from indexer.domain import Domain
from indexer.errors import BadInput
from indexer.records import Demonstration, content_id

_SHAPE = (
    'Write {"messages": [{"role": "user", "content": "..."},'
    ' {"role": "assistant", "content": "..."}]}, optionally with "id" and "group"'
)


def read_demonstrations(domain: Domain) -> list[Demonstration]:
    """In the order of the files, doubles left out; BadInput names the file and the line.

    A domain may have none: only a file that its TOML names has to exist.
    """
    found: dict[str, Demonstration] = {}
    named = "demonstrations" in domain.model_fields_set
    for entry in domain.demonstrations.paths:
        file = domain.folder / entry
        if not named and not file.exists():
            continue
        for number, line in _lines(file):
            demonstration = _parse(file, number, line)
            other = found.setdefault(demonstration.id, demonstration)
            if other != demonstration:
                raise BadInput(
                    f'{file}:{number}: "id" = {demonstration.id!r} is also that of another example',
                    "Give each example its own id, or none: it then follows from the content",
                )
    return list(found.values())


def _lines(file: Path) -> Iterator[tuple[int, str]]:
    try:
        text = file.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise BadInput(
            f"Cannot read the demonstrations {file}: {error.strerror or error}",
            "Correct `demonstrations.paths` in domain.toml",
        ) from error
    except UnicodeDecodeError as error:
        raise BadInput(f"{file} is not text in UTF-8", "Convert it") from error
    for number, line in enumerate(text.split("\n"), start=1):
        if line.strip():
            yield number, line


def _parse(file: Path, number: int, line: str) -> Demonstration:
    try:
        row = json.loads(line)
        question, answer = _last(row, "user"), _last(row, "assistant")
        name = _text(row, "id", content_id(question, answer))
        return Demonstration(name, question, answer, _text(row, "group", ""))
    except ValueError as error:
        raise BadInput(f"{file}:{number}: {error}", _SHAPE) from error


def _last(row: Any, role: str) -> str:
    """The content of the last message of `role`."""
    if not isinstance(row, dict) or not isinstance(row.get("messages"), list):
        raise ValueError('not an object with a list of "messages"')
    for message in reversed(row["messages"]):
        if isinstance(message, dict) and message.get("role") == role:
            content = _text(message, "content", "")
            if content.strip():
                return content.strip()
            raise ValueError(f'the last {role} message has an empty "content"')
    raise ValueError(f"no {role} message")


def _text(row: dict[str, Any], key: str, default: str) -> str:
    value = row.get(key, default)
    if not isinstance(value, str) or any("\ud800" <= sign <= "\udfff" for sign in value):
        raise ValueError(f'"{key}" = {value!r} is not a text')
    return value
