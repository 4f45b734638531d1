"""Texts compared by their words."""

from __future__ import annotations

import re
from typing import Final

_WORD: Final = re.compile(r"\w+")
_MARKER: Final = re.compile(r"\[\d+(?:\s*,\s*\d+)*\]")


def words(text: str) -> list[str]:
    """Lower case, without citation markers and punctuation."""
    return _WORD.findall(_MARKER.sub(" ", text).casefold())


def holds(answer: str, expected: str) -> float:
    """1 where all of the expected words stand in the answer in one piece, else 0."""
    said, wanted = words(answer), words(expected)
    if not wanted:
        return float(not said)
    spots = range(len(said) - len(wanted) + 1)
    return float(any(said[at : at + len(wanted)] == wanted for at in spots))


def rouge_l(answer: str, expected: str) -> float:
    """F1 of the longest common run of words, gaps allowed (Lin 2004, ROUGE-L with beta 1)."""
    said, wanted = words(answer), words(expected)
    if not said or not wanted:
        return float(said == wanted)
    common = _longest_common(said, wanted)
    if not common:
        return 0.0
    precision, recall = common / len(said), common / len(wanted)
    return 2 * precision * recall / (precision + recall)


def _longest_common(one: list[str], other: list[str]) -> int:
    row = [0] * (len(other) + 1)
    for word in one:
        before = 0
        for at, match in enumerate(other, 1):
            before, row[at] = row[at], before + 1 if word == match else max(row[at], row[at - 1])
    return row[-1]


def length_ratio(answer: str, expected: str) -> float:
    """Words of the answer for each expected word."""
    return len(words(answer)) / max(1, len(words(expected)))
