"""Files of test sets to rows: JSON lines, JSON, CSV, blocks of text; each row with its place.

And the lists that go with them: ids, labels, classes.
"""

from __future__ import annotations

import csv
import gzip
import io
import json
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, TypeAlias

import yaml

from indexer.errors import BadInput

Row: TypeAlias = Mapping[str, Any]
Placed: TypeAlias = tuple[str, Row]
KINDS = ".jsonl, .json, .csv, .tsv or .txt, each also with .gz"


def read_rows(path: Path, columns: tuple[str, ...] = ()) -> Iterator[Placed]:
    """The rows of a file; `columns` name those of a table without a head.

    BadInput names the line that cannot be read, and a file that has no rows.
    """
    kind = path.with_suffix("").suffix if path.suffix == ".gz" else path.suffix
    if kind in {".csv", ".tsv"}:
        rows = _table(path, "\t" if kind == ".tsv" else ",", columns)
    elif kind == ".json":
        rows = _objects(path)
    elif kind == ".txt":
        rows = _blocks(path)
    elif kind == ".jsonl":
        rows = _lines(path)
    else:
        raise BadInput(f"{path} is of no kind that is read", f"Give {KINDS}")
    empty = True
    for placed in rows:
        empty = False
        yield placed
    if empty:
        raise BadInput(f"{path} has no rows", "Write one JSON object a line")


def text_of(placed: Placed, *names: str) -> str:
    """The first of the fields that a row has, as text; BadInput names the row that has none."""
    place, row = placed
    for name in names:
        if isinstance(row.get(name), str):
            return str(row[name])
    wanted = " or ".join(f"`{name}`" for name in names)
    raise BadInput(f"{place} has no text {wanted}", f"It has {_fields(row)}")


def _fields(row: Row) -> str:
    return ", ".join(f"`{name}`" for name in list(row)[:12]) or "no fields"


def read_text(path: Path) -> str:
    """A whole file, unpacked; BadInput where it cannot be."""
    try:
        content = path.read_bytes()
        return (gzip.decompress(content) if path.suffix == ".gz" else content).decode()
    except (OSError, EOFError, UnicodeDecodeError) as error:
        raise BadInput(f"Cannot read {path} ({error})", "Check the file") from error


def _lines(path: Path) -> Iterator[Placed]:
    # Not splitlines: a text may hold U+2028, at which no line of JSON ends.
    for number, line in enumerate(read_text(path).split("\n"), 1):
        if line.strip():
            yield f"{path}:{number}", _object(f"{path}:{number}", line)


def _object(place: str, text: str) -> Row:
    try:
        row = json.loads(text)
    except ValueError as error:
        raise BadInput(f"{place} is no JSON ({error})", "Correct the line") from error
    if not isinstance(row, Mapping):
        raise BadInput(f"{place} is no JSON object", 'Each row: {"question": ..., "answer": ...}')
    return row


def _objects(path: Path) -> Iterator[Placed]:
    """A list of objects, one under `data`, or objects by their ids."""
    try:
        told = json.loads(read_text(path))
    except ValueError as error:
        raise BadInput(f"{path} is no JSON ({error})", "Correct it, or name it .jsonl") from error
    if isinstance(told, Mapping) and isinstance(told.get("data"), list):
        told = told["data"]
    if not isinstance(told, Mapping | list):
        raise BadInput(f"{path} is one {type(told).__name__}", "Give a list of objects")
    named: Iterable[tuple[Any, Any]] = (
        told.items() if isinstance(told, Mapping) else enumerate(told, 1)
    )
    for name, row in named:
        if not isinstance(row, Mapping):
            raise BadInput(f"{path}: {name} is no object", "Give a list of objects")
        yield f"{path}: {name}", {"id": str(name), **row} if isinstance(told, Mapping) else row


def _table(path: Path, between: str, columns: tuple[str, ...]) -> Iterator[Placed]:
    """A head names the columns; where `columns` are given and do not stand there, it is a row."""
    try:
        lines = list(csv.reader(io.StringIO(read_text(path), newline=""), delimiter=between))
    except csv.Error as error:
        raise BadInput(f"{path} is no table ({error})", "Correct it") from error
    if not lines:
        return
    bare = bool(columns) and lines[0][:1] != [columns[0]]
    head = list(columns) if bare else lines[0]
    for number, cells in enumerate(lines if bare else lines[1:], 1 if bare else 2):
        if cells and len(cells) != len(head):
            raise BadInput(
                f"{path}:{number} has {len(cells)} cells, not {len(head)}", "Correct the row"
            )
        if cells:
            yield f"{path}:{number}", dict(zip(head, cells, strict=True))


def _blocks(path: Path) -> Iterator[Placed]:
    """`name: value` lines, a block for each row, blocks parted by empty lines."""
    block: dict[str, str] = {}
    start = 1
    for number, line in enumerate([*read_text(path).split("\n"), ""], 1):
        if not line.strip():
            if block:
                yield f"{path}:{start}", block
            block, start = {}, number + 1
            continue
        name, colon, value = line.partition(":")
        if not colon:
            raise BadInput(f"{path}:{number} is no `name: value`", "Correct the line")
        block[name.strip()] = value.strip()


def read_ids(path: Path) -> set[str]:
    """The keys of a JSON object, or a line each."""
    text = read_text(path)
    if path.suffix == ".json":
        return {str(one) for one in yaml.safe_load(text)}
    return {line.strip() for line in text.splitlines() if line.strip()}


def read_classes(path: Path) -> dict[str, str | None]:
    """YAML: what a set calls a class, and which label that is; null leaves such rows out."""
    told = yaml.safe_load(read_text(path))
    if not isinstance(told, Mapping) or not all(
        isinstance(name, str) and isinstance(label, str | None) for name, label in told.items()
    ):
        raise BadInput(f"{path} is no map of classes", "Write `Its name: our label`, a line each")
    return dict(told)


def read_labels(path: Path) -> list[str]:
    """The closed list of labels: a line each, or JSON lines with `name`."""
    if path.name.endswith((".jsonl", ".jsonl.gz")):
        return [text_of(placed, "name", "label") for placed in read_rows(path)]
    return [line.strip() for line in read_text(path).splitlines() if line.strip()]
