"""The `[n]` by which an answer cites what it was shown, and texts that cannot be taken for one.

Bounded, so that whoever follows a stream knows after how many characters a marker must be whole.
"""

import re

_NUMBER = "[0-9]{1,3}"
_COMMA = r"\s{0,2},\s{0,2}"
_MOST = 15  # numbers after the first
MARKER = re.compile(rf"\[({_NUMBER}(?:{_COMMA}{_NUMBER}){{0,{_MOST}}})\]")
# As markers, and as what prompts put behind a numbered source.
_SHOWN = re.compile(rf"\[(/?\s{{0,2}}{_NUMBER}(?:{_COMMA}{_NUMBER})*)\]")
# The end of a text that may yet become a marker, and how long that can be.
OPENING = re.compile(rf"\[(?:{_NUMBER}{_COMMA}){{0,{_MOST}}}(?:{_NUMBER}\s{{0,2}})?\Z")
LONGEST = len("[") + _MOST * len("123  ,  ") + len("123  ")


def parse_citations(text: str) -> list[tuple[int, int, int]]:
    """Find the `[n]` markers of an answer, also `[1, 3]`, as (id, start, end) into the answer."""
    return [
        (number, marker.start(), marker.end())
        for marker in MARKER.finditer(text)
        for number in numbers(marker[1])
    ]


def numbers(listed: str) -> list[int]:
    """What stands between a marker's brackets."""
    return [int(number) for number in listed.split(",")]


def inert(text: str) -> str:
    """The text with round brackets where it has a marker, or the end of one, as `[/3]` is."""
    return _SHOWN.sub(r"(\1)", text) if "[" in text else text
