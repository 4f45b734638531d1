"""Plain text is understood as people type it."""

from indexer.reading.layout import Extract
from indexer.reading.plaintext import read_text

_LETTER = """\
REFUNDS AND RETURNS
Version 2, January 2025
=======================

HOW LONG IT TAKES

A refund is paid within ten working days of the return of the goods to us, or
within 30 days if the goods are damaged. The bank may need a further
2 days.

1. Exceptions

Nothing is paid for the following:

- Goods that were opened,
  or used.
- Gift cards.

Prices of parts
The list is short. It is checked every year by the team.

Filter: £8
Hose: £12

  Postage ............. £3
"""


def test_structure_is_read_from_the_shape_of_the_lines() -> None:
    found = read_text(_LETTER)
    assert found.title == "REFUNDS AND RETURNS"
    assert [tuple(line) for line in found.lines] == [
        ("title", 1, "REFUNDS AND RETURNS"),
        ("paragraph", 0, "Version 2, January 2025"),
        ("heading", 2, "HOW LONG IT TAKES"),
        (
            "paragraph",
            0,
            "A refund is paid within ten working days of the return of the goods to us, or within"
            " 30 days if the goods are damaged. The bank may need a further 2 days.",
        ),
        ("heading", 3, "1. Exceptions"),
        ("paragraph", 0, "Nothing is paid for the following:"),
        ("item", 1, "Goods that were opened, or used."),
        ("item", 1, "Gift cards."),
        ("heading", 4, "Prices of parts"),
        ("paragraph", 0, "The list is short. It is checked every year by the team."),
        ("paragraph", 0, "Filter: £8"),
        ("paragraph", 0, "Hose: £12"),
        ("row", 0, "Postage | £3"),
    ]


def test_paragraphs_that_are_one_long_line_each_stay_apart() -> None:
    paragraphs = ["Many words make a line that was never broken. " * 4, "Short one.", "Last one."]
    lines = read_text("\n".join(paragraphs)).lines
    assert [line.text for line in lines] == [paragraph.strip() for paragraph in paragraphs]


def test_a_text_without_a_title_has_none() -> None:
    assert read_text("We sell tea.\n").title == ""


def test_no_text_is_no_lines() -> None:
    assert read_text(" \n---\n\n") == Extract("", [])
