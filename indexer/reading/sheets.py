"""Spreadsheets to lines: a heading per sheet, values and never formulas."""

import io
from collections.abc import Iterator

import python_calamine as calamine

from indexer.reading.layout import Extract, Line, clean
from indexer.reading.rules import Refused
from indexer.reading.tables import Row, table_lines
from indexer.records import Rejected

_MOST_CELLS = 5_000_000
_TYPES = calamine.SheetTypeEnum
_WITHOUT_CELLS = (_TYPES.ChartSheet, _TYPES.DialogSheet, _TYPES.Vba)


def read_sheets(content: bytes) -> tuple[Extract, list[Rejected]]:
    """What the sheets hold, and which of them cannot be read.

    Refused: damaged, locked, or with more cells than anyone reads.
    """
    try:
        book = calamine.CalamineWorkbook.from_filelike(io.BytesIO(content))
    except calamine.PasswordError as error:
        raise Refused("is protected by a password") from error
    except calamine.CalamineError as error:
        raise Refused(f"is damaged: {error}") from error
    lines: list[Line] = []
    rejected: list[Rejected] = []
    for sheet in book.sheets_metadata:
        if sheet.typ in _WITHOUT_CELLS:
            continue
        name = sheet.name
        try:
            found = list(_sheet(book, name))
        except calamine.CalamineError as error:
            rejected.append(Rejected(clean(name), f"is damaged: {clean(str(error))}"))
            continue
        if found:
            lines += [Line("heading", 2, clean(name) or "Sheet"), *found]
    return Extract("", lines), rejected


def _sheet(book: calamine.CalamineWorkbook, name: str) -> Iterator[Line]:
    sheet = book.get_sheet_by_name(name)
    if sheet.height * sheet.width > _MOST_CELLS:
        size = f"{sheet.height} rows and {sheet.width} columns"
        raise Refused(f"has a sheet of {size}; {_MOST_CELLS:,} cells can be read")
    yield from table_lines(_rows(sheet))


def _rows(sheet: calamine.CalamineSheet) -> Iterator[Row]:
    yield from sheet.iter_rows()
