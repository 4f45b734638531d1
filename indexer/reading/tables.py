"""Rows of cells to lines that can be read alone: each cell below its column's name."""

import csv
import datetime
import io
import itertools
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from indexer.domain import FieldSettings
from indexer.reading.fields import to_fields, to_value
from indexer.reading.layout import Extract, Line, clean
from indexer.reading.plaintext import read_text
from indexer.reading.rules import MAX_DOCUMENTS, Refused
from indexer.records import Rejected, Value

_WIDEST = 16_384  # as many columns as a spreadsheet has
_LONGEST_NAME = 80
_DELIMITERS = ",;\t|"
# Given to the parser below the last line; no text that is read holds it.
_END = "\0"

Row = Sequence[Any]


def read_csv(text: str, kind: str, settings: FieldSettings) -> Iterator[Extract | Rejected]:
    """A document a row where a column is named as its text; else one document of all rows."""
    delimiter = "\t" if kind == "tsv" else _delimiter(text)
    rows = _csv_rows(text, delimiter)
    header = next(rows, [])
    names = [clean(str(name)) for name in header]
    if _column(names, settings.text) is not None:
        yield from _row_documents(names, rows, settings, delimiter)
    else:
        lines = list(table_lines(_chain(header, rows)))
        yield Extract("", lines)


def _chain(first: Row, rest: Iterable[Row]) -> Iterator[Row]:
    yield first
    yield from rest


def _csv_rows(text: str, delimiter: str) -> Iterator[list[str]]:
    csv.field_size_limit(2**31 - 1)
    lines = itertools.chain(io.StringIO(text, newline=""), [_END])
    reader = csv.reader(lines, delimiter=delimiter)
    line = 1
    try:
        for row in reader:
            if row and row[-1].endswith(_END):
                _check_end(row, line)
                return
            line = reader.line_num + 1
            if len(row) > _WIDEST:
                raise Refused(f"has a row of {len(row)} columns; {_WIDEST} can be read")
            if any(row):
                yield row
    except csv.Error as error:
        raise Refused(f"is no table that can be read: {error}") from error


def _check_end(row: list[str], line: int) -> None:
    """Refused: the end of the file lies within a quoted cell, and so does all that was a row."""
    if row != [_END]:
        raise Refused(f"has a quote that is not closed, in the row that begins in line {line}")


def _delimiter(text: str) -> str:
    """The sign that stands equally often in the first lines; a comma where none does."""
    lines = [line for line in text[:20_000].splitlines()[:20] if line.strip()]

    def agreement(sign: str) -> tuple[int, int]:
        counts = [len(row) - 1 for row in csv.reader(lines, delimiter=sign)]
        usual = max(counts, key=counts.count, default=0)
        return (counts.count(usual) if usual else 0, usual)

    return max(_DELIMITERS, key=agreement) if lines else ","


def _column(names: Sequence[str], wanted: Iterable[str]) -> int | None:
    lowered = [name.lower() for name in names]
    return next((lowered.index(w.lower()) for w in wanted if w.lower() in lowered), None)


def _row_documents(
    names: list[str], rows: Iterable[list[str]], settings: FieldSettings, delimiter: str
) -> Iterator[Extract | Rejected]:
    places = [_column(names, wanted) for wanted in (settings.text, settings.title, settings.id)]
    for number, row in enumerate(rows, start=1):
        if number > MAX_DOCUMENTS:
            raise Refused(f"holds more than {MAX_DOCUMENTS} documents; split it")
        cells = _fitted(row, len(names), delimiter if places[0] == len(names) - 1 else "")
        if len(cells) > len(names):
            yield Rejected(str(number), "has more cells than columns")
            continue
        text, title, key = (cells[p] if p is not None and p < len(cells) else "" for p in places)
        others = {
            name: typed(cell)
            for place, (name, cell) in enumerate(zip(names, cells, strict=False))
            if place not in places
        }
        yield Extract(
            clean(title),
            read_text(text).lines,
            to_fields(others),
            key=clean(key) or str(number),
            source="\x1f".join(row).encode(errors="surrogatepass"),
        )


def _fitted(row: list[str], columns: int, delimiter: str) -> list[str]:
    """Without empty cells beyond the columns. A text in the last of these that nobody quoted was
    cut at each `delimiter` ("" where it is no text), and is joined again."""
    end = len(row)
    while end > columns and not row[end - 1].strip():
        end -= 1
    if delimiter and end > columns:
        return [*row[: columns - 1], delimiter.join(row[columns - 1 : end])]
    return row[:end]


def typed(cell: str) -> Value:
    """A number, true or false where the cell's whole text says so; a code like "007" is text."""
    text = cell.strip()
    if text.lower() in ("true", "false"):
        return text.lower() == "true"
    if text.isascii() and text[:1] in "-0123456789" and len(text) < 19:
        for kind in (int, float):
            try:
                value = kind(text)
            except ValueError:
                continue
            return value if str(value) == text or kind is float else text
    return text


def table_lines(rows: Iterable[Row]) -> Iterator[Line]:
    """Lines of a sheet, in which tables stand below each other with titles between them.

    Rows that touch are a table; its first row names the columns if it can, and then stands in
    every row: "Name: Ann | Age: 4". A row of one cell is a paragraph.
    """
    alone: list[str] = []  # names of columns below which no row has come yet
    names: list[str] | None = None
    open_table = False
    for row in rows:
        cells = [cell_text(value) for value in row]
        filled = sum(1 for cell in cells if cell)
        if filled < 2 and not (filled and open_table and names is not None):
            if any(alone):
                yield Line("row", 0, _row_text(None, alone))
                alone = []
            yield from (Line("paragraph", 0, cell) for cell in cells if cell)
            open_table = open_table and filled == 1
            continue
        if not open_table:
            open_table = True
            names = cells if _names_columns(row, cells) else None
            if names is not None:
                alone = cells
                continue
        alone = []
        yield Line("row", 0, _row_text(names, cells))
    if any(alone):
        yield Line("row", 0, _row_text(None, alone))


def _names_columns(row: Row, cells: list[str]) -> bool:
    named = [(value, cell) for value, cell in zip(row, cells, strict=True) if cell]
    if not all(isinstance(value, str) and len(cell) <= _LONGEST_NAME for value, cell in named):
        return False
    texts = [cell for _, cell in named]
    return len(set(texts)) == len(texts) and not any(_is_number(cell) for cell in texts)


def _is_number(cell: str) -> bool:
    return isinstance(typed(cell.replace(",", "").rstrip("%")), int | float)


def _row_text(names: list[str] | None, cells: list[str]) -> str:
    if names is None:
        return " | ".join(cell for cell in cells if cell)
    wide = [*names, *[""] * (len(cells) - len(names))]
    return " | ".join(
        f"{name}: {cell}" if name else cell for name, cell in zip(wide, cells, strict=False) if cell
    )


def cell_text(value: Any) -> str:
    """As a person sees it: 3 for 3.0, a date without its midnight."""
    if isinstance(value, str):
        return clean(value)
    if isinstance(value, float) and value.is_integer() and abs(value) < 1e15:
        return str(int(value))
    if isinstance(value, datetime.datetime) and value.time() == datetime.time():
        return value.date().isoformat()
    found = to_value(value) if not isinstance(value, datetime.timedelta) else str(value)
    return "" if found is None else clean(str(found))
