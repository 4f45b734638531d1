"""The number that an answer ends in, found and read robustly; the rule that found it is named.

lm-evaluation-harness' two ways of finding it stand beside, so that figures can be compared.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from typing import Final

from eval.scoring.notation import plain, spelled

_DIGITS: Final = r"(?:\d{1,3}(?:,\d{3})+|\d+)(?:\.\d+)?(?:[eE][-+]?\d{1,3})?|\.\d+"
_FRACTION: Final = r"(?P<top>\d+)\s*/\s*(?P<bottom>[1-9]\d*)"
# As people write it: sign, currency, thousands, fractions. A dash and a space open a list, a dash
# between two numbers a range.
_NUMBER: Final = re.compile(
    rf"(?P<sign>(?<![\w)])[-−–])?(?:[$€£¥₹]\s?)?(?P<inner>(?<=[$€£¥₹])[-−])?"  # noqa: RUF001
    rf"(?:(?P<whole>\d+)\s+{_FRACTION.replace('top', 'mixed').replace('bottom', 'parts')}"
    rf"|{_FRACTION}|(?P<digits>{_DIGITS}))(?![\d/])"
    r"(?:\s?(?P<scale>thousand|million|billion|k|m|bn)\b)?",
    re.IGNORECASE,
)
_SCALES: Final = {
    "thousand": 10**3,
    "k": 10**3,
    "million": 10**6,
    "m": 10**6,
    "billion": 10**9,
    "bn": 10**9,
}
_BOXED: Final = re.compile(r"\\boxed\s*\{")
_SAID: Final = re.compile(
    r"(?:answer|result|total)[*_]*\s*(?:is|=|:|are)+[ \t]*(?:that\s+)?:?[ \t]*"
    r"|(?:^|\n)\s*A:\s*",
    re.IGNORECASE,
)
_HASHES: Final = re.compile(r"####")
_HEADING: Final = re.compile(r"\W*(?:step|part|question|problem|solution|case)\s*\d", re.IGNORECASE)
_LONE_DASH: Final = re.compile(r"^\s*[-−–]\s+(?=[$€£]?\s?[\d.])")  # noqa: RUF001
_REJECTED: Final = re.compile(r"\bnot\b[^.;\n]*?\bbut\b", re.IGNORECASE)
_LISTED: Final = re.compile(r"^[*_ \t]*\n\s*(?:[-*] )?")
_SHORT: Final = 6
_NEXT_QUESTION: Final = re.compile(r"\n\s*(?:Question|Q)\s*\d*\s*[:.]", re.IGNORECASE)
_ASIDE: Final = re.compile(r"\([^()]*\)")


@dataclass(frozen=True, slots=True)
class FoundNumber:
    """A value, and the rule that found it: hashes, boxed, said, last, spelled."""

    value: Decimal
    rule: str


def find_number(answer: str) -> FoundNumber | None:
    """The number that an answer gives; None where it gives none.

    Looked for behind `####`, in a box, behind "the answer is", and else as the last number that is
    no aside in brackets; where no digit stands, in words. What follows the next question is not of
    this answer.
    """
    text = _NEXT_QUESTION.split(answer, 1)[0]
    for rule, places in _RULES:
        for part in places(text):
            value = _first(part) if rule != "last" else _last(part)
            if value is not None:
                return FoundNumber(value, rule)
    return _spelled(text)


def _spelled(text: str) -> FoundNumber | None:
    """In words: only where they are said to be the answer, or stand nearly alone."""
    places = [part for _, find in _RULES[:3] for part in find(text)]
    places += [text] if len(text.split()) <= _SHORT else []
    found = [spelled(part) for part in places if not re.search(r"\d", part)]
    value = next((one for one in found if one is not None), None)
    return None if value is None else FoundNumber(Decimal(value), "spelled")


def same_number(answer: str, expected: str) -> bool:
    """Do two texts give the same number? Compared as numbers, not as they are written."""
    found, wanted = find_number(answer), find_number(expected)
    return found is not None and wanted is not None and found.value == wanted.value


def _behind_hashes(text: str) -> Iterator[str]:
    for match in reversed(list(_HASHES.finditer(text))):
        part = text[match.end() :].strip().split("\n", 1)[0]
        if not _HEADING.match(part):
            yield part


def _boxed(text: str) -> Iterator[str]:
    for match in reversed(list(_BOXED.finditer(text))):
        yield _braced(text, match.end())


def _braced(text: str, start: int) -> str:
    """Up to the brace that closes what was opened before `start`."""
    depth = 1
    for at in range(start, len(text)):
        depth += {"{": 1, "}": -1}.get(text[at], 0)
        if not depth:
            return text[start:at]
    return text[start:]


def _behind_words(text: str) -> Iterator[str]:
    """The line behind the last "the answer is"; brackets are an aside unless it opens with them."""
    for match in reversed(list(_SAID.finditer(text))):
        line = _LISTED.sub("", text[match.end() :]).split("\n", 1)[0].lstrip("\\$*_ ")
        yield _REJECTED.sub(" ", line[:1] + _ASIDE.sub(" ", line[1:]))


def _anywhere(text: str) -> Iterator[str]:
    yield _ASIDE.sub(" ", text)
    yield text


_RULES: Final[tuple[tuple[str, Callable[[str], Iterator[str]]], ...]] = (
    ("hashes", _behind_hashes),
    ("boxed", _boxed),
    ("said", _behind_words),
    ("last", _anywhere),
)


def _first(text: str) -> Decimal | None:
    """Of an equation the number behind its last sign, else the first; words in it count last."""
    for worded in (False, True):
        line = _LONE_DASH.sub("-", plain(text, worded=worded))
        head = re.split(r"[.!?](?:\s|$)|,\s", line, maxsplit=1)[0]
        part = head.rsplit("=", 1)[-1] if "=" in head else line
        found = next((_value(match) for match in _NUMBER.finditer(part)), None)
        if found is not None:
            return found
    return None


def _last(text: str) -> Decimal | None:
    found = [_value(match) for match in _NUMBER.finditer(plain(text))]
    return found[-1] if found else None


def _value(match: re.Match[str]) -> Decimal | None:
    try:
        return (-_size(match) if match["sign"] or match["inner"] else _size(match)).normalize()
    except InvalidOperation:  # more digits than anything is counted in
        return None


def _size(match: re.Match[str]) -> Decimal:
    scale = _SCALES.get((match["scale"] or "").lower(), 1)
    if match["whole"]:
        return Decimal(match["whole"]) + Decimal(match["mixed"]) / Decimal(match["parts"])
    if match["top"]:
        return Decimal(match["top"]) / Decimal(match["bottom"])
    return Decimal(match["digits"].replace(",", "")) * scale


def lm_eval_strict(answer: str) -> str | None:
    """As lm-evaluation-harness' `gsm8k` finds it (version 3, `strict-match`), unread."""
    match = re.search(r"#### (\-?[0-9\.\,]+)", answer)
    return lm_eval_normal(match[1]) if match else None


def lm_eval_flexible(answer: str) -> str | None:
    """As lm-evaluation-harness' `gsm8k` finds it (version 3, `flexible-extract`), unread."""
    found = re.findall(r"(-?[$0-9.,]{2,})|(-?[0-9]+)", answer)
    return lm_eval_normal(next(filter(None, found[-1]))) if found else None


def lm_eval_normal(text: str) -> str:
    """Without what its exact match ignores: of an expected answer what it is compared with."""
    return re.sub(r"\.$", "", re.sub(r"(?s).*#### ", "", text.replace(",", "").replace("$", "")))
