"""Plain text is understood as people type it."""

import itertools
import re
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from indexer.reading import plaintext
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


def test_what_is_longer_than_a_heading_is_none() -> None:
    key = "A" + "b" * 150
    assert [line.kind for line in read_text(f"{key}\n\nWe sell tea.\n").lines] == ["paragraph"] * 2
    assert read_text(f"{key[:150]}\n\nWe sell tea.\n").title == key[:150]


def test_lines_without_a_blank_one_take_no_longer_than_others() -> None:
    started = time.monotonic()
    (line,) = read_text("some words that go on and on\n" * 300_000).lines
    assert len(line.text) == 300_000 * 29 - 1
    (line,) = read_text("wide" + " " * 300_000 + "apart.").lines
    assert line.text == "wide apart."
    assert time.monotonic() - started < 10


_PIECES = st.sampled_from(["- ", "a", "Name:", "is", "1.", " ", "\t", "....", "Tea", "x" * 50, "."])


@given(st.lists(st.lists(_PIECES, min_size=1, max_size=5).map("".join).filter(str.strip)))
def test_a_piece_is_known_by_its_beginning(lines: list[str]) -> None:
    """As if every line were held against all of the piece before it, which takes their square."""
    group = [line.rstrip() for line in lines]
    for width in (5, 60):
        assert not group or plaintext._unwrap(group, width) == _unwrapped(group, width)


def _unwrapped(group: list[str], width: int) -> list[str]:
    pieces = [group[0]]
    for previous, line in itertools.pairwise(group):
        if (
            plaintext._starts_item(pieces[-1], previous, line)
            or plaintext._continues_pairs(pieces[-1], line)
            or plaintext._broken_on_purpose(previous, line, width)
        ):
            pieces.append(line)
        else:
            pieces[-1] += " " + line.strip()
    return [re.sub(r"\s*\.{4,}\s*|\s*\t\s*", " | ", piece.strip()) for piece in pieces]


@pytest.mark.parametrize(
    "sign", "\u202a \u202e \u2066 \u2069 \u200e \u200f \U000e0041 \U000e007f".split()
)
def test_what_turns_or_hides_writing_is_left_out(sign: str) -> None:
    assert read_text(f"We {sign}sell tea.\n").lines[0].text == "We sell tea."
    assert read_text(f"- {sign}\n").lines == []


@pytest.mark.parametrize("text", ["\u0645\u06cc\u200c\u062e\u0648.", "\U0001f469\u200d\U0001f33e."])
def test_what_joins_letters_stays(text: str) -> None:
    assert read_text(text).lines[0].text == text
