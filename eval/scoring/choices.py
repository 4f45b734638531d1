"""Multiple choice: which letter an answer gives, and by which rule; never guessed."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

_MARKS: Final = re.compile(r"\\(?:boxed|text|mathrm|mathbf)\s*|[*_`{}$]|</?answer>")
# A letter alone: in brackets, before a stop, bracket or colon, or with nothing behind it.
_LETTER: Final = r"\(?(?P<letter>[A-J])(?:\)|[.:]|(?=\s*(?:$|\n|[,;]|\s-\s|because\b|since\b)))"
_FIRST: Final = re.compile(rf"\s*(?i:option\s+|choice\s+)?{_LETTER}")
# A small letter counts behind these words, but for "a" and "i", which are words themselves.
_SAID: Final = re.compile(
    r"(?i:(?:answer|choice|option|it)\s*(?:is|:|=|would be)+|(?:choose|select|pick))\s*:?\s*"
    rf"(?i:option\s+|choice\s+|the\s+)?{_LETTER.replace('[A-J]', '[A-Jb-hj]')}"
)
_WORDS: Final = re.compile(r"\w+")


@dataclass(frozen=True, slots=True)
class FoundChoice:
    """A letter, and how it was found: first, said, text."""

    letter: str
    rule: str


def find_choice(answer: str, choices: Sequence[str]) -> FoundChoice | None:
    """The letter that an answer gives; None where it gives none, or more than one.

    It opens the answer, or stands behind the last "the answer is", or is told by the words of its
    choice: those that open the answer, or those of the only choice that is spoken of.
    """
    text = _MARKS.sub("", answer).strip()
    letters = "ABCDEFGHIJ"[: len(choices)]
    if (opening := _FIRST.match(text)) and opening["letter"] in letters:
        return FoundChoice(opening["letter"], "first")
    said = [found["letter"].upper() for found in _SAID.finditer(text)]
    if said and said[-1] in letters:
        return FoundChoice(said[-1], "said")
    at = _by_words(text, choices)
    return None if at is None else FoundChoice(letters[at], "text")


def _by_words(text: str, choices: Sequence[str]) -> int | None:
    spoken = _words(text)
    opening = _words(text.split("\n", 1)[0])
    same = [at for at, choice in enumerate(choices) if _words(choice) == opening]
    if len(same) == 1:
        return same[0]
    named = [at for at, choice in enumerate(choices) if f" {_words(choice).strip()} " in spoken]
    # Of two choices one may hold the other: then the longer is meant.
    longest = [
        at
        for at in named
        if not any(at != other and _words(choices[at]) in _words(choices[other]) for other in named)
    ]
    return longest[0] if len(longest) == 1 else None


def _words(text: str) -> str:
    return f" {' '.join(_WORDS.findall(text.casefold()))} "
