"""JSON and JSON lines to documents: which keys are text, title and id is the domain's to say."""

import json
from collections.abc import Iterator, Mapping
from typing import Any

import orjson

from indexer.domain import FieldSettings
from indexer.reading.fields import to_fields, to_value
from indexer.reading.layout import Extract, Line, clean
from indexer.reading.plaintext import read_text
from indexer.reading.rules import MAX_DOCUMENTS, MAX_NESTING, Refused
from indexer.records import Rejected

Rows = list[tuple[str, Any]]


def read_json(text: str, settings: FieldSettings) -> Iterator[Extract | Rejected]:
    """An object with a text is a document, a list of such objects one document each.

    What has no text anywhere is one document of its values.
    """
    found = _parsed(text)
    if isinstance(found, list):
        yield from _documents([(str(n), row) for n, row in enumerate(found, start=1)], settings)
    elif isinstance(found, dict) and _text_of(found, settings.text) is not None:
        yield _document(found, settings, "")
    else:
        yield Extract("", list(_leaves(found)))


def read_jsonl(text: str, settings: FieldSettings) -> Iterator[Extract | Rejected]:
    """One object a line; a line that is none is rejected by its number."""
    rows: Rows = []
    for number, line in enumerate(text.split("\n"), start=1):
        if not line.strip():
            continue
        try:
            rows.append((str(number), _parsed(line)))
        except Refused as error:
            yield Rejected(str(number), str(error))
    yield from _documents(rows, settings)


def _parsed(text: str) -> Any:
    """Refused: no JSON, or one that nests deeper than anything made by people."""
    try:
        found = orjson.loads(text)
    except orjson.JSONDecodeError as error:
        found = _lenient(text, error)
    if isinstance(found, (dict, list)) and _nests_deeper(found, MAX_NESTING):
        raise Refused(f"nests deeper than {MAX_NESTING} levels")
    return found


def _lenient(text: str, first: Exception) -> Any:
    """Python's parser takes what others write: NaN, and halves of characters."""
    try:
        return json.loads(text)
    except RecursionError as error:
        raise Refused(f"nests deeper than {MAX_NESTING} levels") from error
    except ValueError as error:
        raise Refused(f"is not JSON: {error}") from first


def _nests_deeper(found: Any, most: int) -> bool:
    level = [found]
    for _ in range(most):
        level = [
            inner
            for one in level
            for inner in (one.values() if isinstance(one, dict) else one)
            if isinstance(inner, (dict, list))
        ]
        if not level:
            return False
    return True


def _documents(rows: Rows, settings: FieldSettings) -> Iterator[Extract | Rejected]:
    if not any(isinstance(row, dict) and _has(row, settings.text) for _, row in rows):
        yield Extract("", [line for _, row in rows for line in _row_lines(row)])
        return
    if len(rows) > MAX_DOCUMENTS:
        raise Refused(f"holds more than {MAX_DOCUMENTS} documents; split it")
    for number, row in rows:
        if not isinstance(row, dict) or not _has(row, settings.text):
            yield Rejected(number, f'is not an object with a "{settings.text[0]}"')
        elif _text_of(row, settings.text) is None:
            yield Rejected(number, f'"{settings.text[0]}" is not a text')
        else:
            yield _row_document(row, settings, number)


def _row_document(row: dict[str, Any], settings: FieldSettings, number: str) -> Extract | Rejected:
    try:
        return _document(row, settings, number)
    except orjson.JSONEncodeError as error:  # half a character, too long a number
        return Rejected(number, f"holds a value that cannot be kept: {error}")


def _document(row: dict[str, Any], settings: FieldSettings, number: str) -> Extract:
    """`number` is "" where the row is the whole file."""
    text = _text_of(row, settings.text) or ""
    title = to_value(_first(row, settings.title))
    key = to_value(_first(row, settings.id))
    used = (*settings.text, *settings.title, *settings.id)
    return Extract(
        clean(str(title)) if title is not None else "",
        read_text(text).lines,
        to_fields(row, without=used),
        key=(clean(str(key)) if key is not None else number) if number else "",
        source=orjson.dumps(row, option=orjson.OPT_NON_STR_KEYS) if number else None,
    )


def _first(row: Mapping[str, Any], names: list[str]) -> Any:
    return next((found for name in names if (found := _reach(row, name)) is not None), None)


def _has(row: Mapping[str, Any], names: list[str]) -> bool:
    return any(_reach(row, name) is not None for name in names)


def _reach(row: Any, name: str) -> Any:
    """The key itself, else where its dots lead."""
    if isinstance(row, dict) and name in row:
        return row[name]
    for part in name.split("."):
        row = row.get(part) if isinstance(row, dict) else None
    return row


def _text_of(row: Mapping[str, Any], names: list[str]) -> str | None:
    found = _first(row, names)
    if isinstance(found, list) and all(isinstance(one, str) for one in found):
        return "\n\n".join(found)
    return found if isinstance(found, str) else None


def _row_lines(row: Any) -> Iterator[Line]:
    """A flat object is a row of a table: "Name: Ann | Age: 4"; anything else its values."""
    if not isinstance(row, dict) or any(isinstance(v, (dict, list)) for v in row.values()):
        yield from _leaves(row)
        return
    cells = [(clean(str(name)), _scalar(value)) for name, value in row.items()]
    text = " | ".join(f"{name}: {cell}" if name else cell for name, cell in cells if cell)
    if text:
        yield Line("row", 0, text)


def _leaves(found: Any) -> Iterator[Line]:
    """Every value in order, each below the dotted name that leads to it."""
    pending: list[tuple[str, Any]] = [("", found)]
    while pending:
        name, value = pending.pop()
        if isinstance(value, dict):
            inner = [(f"{name}.{key}".lstrip("."), one) for key, one in value.items()]
            pending.extend(reversed(inner))
        elif isinstance(value, list):
            pending.extend((name, one) for one in reversed(value))
        elif text := _scalar(value):
            yield Line("row", 0, clean(f"{name}: {text}" if name else text))


def _scalar(value: Any) -> str:
    return "" if value is None else clean(str(value))
