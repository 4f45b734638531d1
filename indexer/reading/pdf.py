"""PDF to printed lines: what stands on each page, where, and how big its letters are."""

import ctypes
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import pypdfium2
import pypdfium2.raw as pdfium

from indexer.reading.layout import clean
from indexer.reading.rules import Refused

_WRONG_PASSWORD = 4  # FPDF_ERR_PASSWORD
_NEW_LINE = 10


@dataclass(slots=True)
class Printed:
    """One printed line: its text, where it begins and ends, and the size of its letters.

    Where a word is broken by a hyphen, PDFium joins two lines: `foot` is the last one's bottom.
    """

    text: str
    left: float
    right: float
    bottom: float
    size: float
    foot: float


def read_pages(
    content: bytes, passwords: Sequence[str]
) -> tuple[list[list[Printed]], dict[str, str]]:
    """The lines of each page, and what the file says about itself. Refused: damaged or locked."""
    document = _open(content, passwords)
    try:
        pages = [_page(document, number) for number in range(len(document))]
        return pages, dict(document.get_metadata_dict())
    finally:
        document.close()


def _open(content: bytes, passwords: Sequence[str]) -> Any:
    for password in (None, *passwords):
        try:
            return pypdfium2.PdfDocument(content, password=password)
        except pypdfium2.PdfiumError as error:
            if error.err_code != _WRONG_PASSWORD:
                raise Refused("is damaged: no PDF that can be opened") from error
    tried = "; none of the passwords given opens it" if passwords else ""
    raise Refused(f"is protected by a password{tried}")


def _page(document: Any, number: int) -> list[Printed]:
    """A page that cannot be read has no lines; the others are still worth having."""
    try:
        page = document[number]
        text_page = page.get_textpage()
    except pypdfium2.PdfiumError:
        return []
    try:
        return list(_lines(text_page.raw))
    finally:
        text_page.close()
        page.close()


def _lines(page: Any) -> Iterator[Printed]:
    unicode_at = pdfium.FPDFText_GetUnicode
    codes = [unicode_at(page, index) for index in range(pdfium.FPDFText_CountChars(page))]
    start = 0
    for end, code in enumerate([*codes, _NEW_LINE]):
        if code != _NEW_LINE:
            continue
        text = _decoded(codes[start:end])
        if clean(text):
            yield _placed(page, [i for i in range(start, end) if codes[i] > 32], text)
        start = end + 1


def _decoded(codes: list[int]) -> str:
    """PDFium gives UTF-16 units: two make one character beyond the first 65,536."""
    text = "".join(map(chr, codes))
    if any(0xD800 <= code <= 0xDFFF for code in codes):
        text = text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    return text.strip(" \r\t")


def _placed(page: Any, seen: list[int], text: str) -> Printed:
    if not seen:
        return Printed(text, 0.0, 0.0, 0.0, 0.0, 0.0)
    left, bottom, _, top = _box(page, seen[0])
    _, foot, right, _ = _box(page, seen[-1])
    # Many programs set letters of size 1 and scale the page instead. The first may be a bullet.
    size = pdfium.FPDFText_GetFontSize(page, seen[len(seen) // 2])
    return Printed(text, left, right, bottom, size if size > 2 else (top - bottom) * 1.4, foot)


def _box(page: Any, index: int) -> tuple[float, float, float, float]:
    """Left, bottom, right, top in points; of the whole letter's place, descenders or not."""
    box = pdfium.FS_RECTF()
    pdfium.FPDFText_GetLooseCharBox(page, index, ctypes.byref(box))
    return box.left, box.bottom, box.right, box.top
