"""Texts compared by their words."""

from __future__ import annotations

import re
import string
from collections import Counter
from collections.abc import Sequence
from typing import Final

from eval.likeness import in_common

_WORD: Final = re.compile(r"\w+")
_ARTICLES: Final = re.compile(r"\b(?:a|an|the)\b")
_PUNCTUATION: Final = re.compile(f"[{re.escape(string.punctuation)}]")
_TEMPLATE: Final = re.compile(r"<\|[\w-]+\|>|</?s>|\[/?INST\]|<(?:start|end)_of_turn>")
_SIGNED: Final = re.compile(
    r"(?:\b(?:(?:kind|best|warm)\s+)?(?:regards|wishes|thanks|thank you|sincerely|take care)"
    r"[\s,.!-]*)*\b(?:chat\s*doctor|dr\.?\s+[A-Z][\w.]*(?:\s+[A-Z]\w+)?)[\s.,!]*$",
    re.IGNORECASE,
)
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
    common = in_common(said, wanted)
    if not common:
        return 0.0
    precision, recall = common / len(said), common / len(wanted)
    return 2 * precision * recall / (precision + recall)


def length_ratio(answer: str, expected: str) -> float:
    """Words of the answer for each expected word."""
    return len(words(answer)) / max(1, len(words(expected)))


def squad_words(text: str) -> list[str]:
    """As SQuAD's own script compares: lower case, without punctuation and articles."""
    plain = _PUNCTUATION.sub("", _MARKER.sub(" ", text).lower())
    return _ARTICLES.sub(" ", plain).split()


def squad_exact(answer: str, expected: Sequence[str]) -> float:
    """1 where the answer is any of those expected, word for word."""
    return float(any(squad_words(answer) == squad_words(one) for one in expected))


def squad_f1(answer: str, expected: Sequence[str]) -> float:
    """F1 of the words, whatever their order, against the best of those expected."""
    return max(_shared_f1(squad_words(answer), squad_words(one)) for one in expected)


def _shared_f1(said: list[str], wanted: list[str]) -> float:
    if not said or not wanted:
        return float(said == wanted)
    shared = sum((Counter(said) & Counter(wanted)).values())
    return 2 * shared / (len(said) + len(wanted))


def without_template(text: str) -> str:
    """Without the marks of a chat template that a base wrote out."""
    return _TEMPLATE.sub(" ", text).strip()


def without_signature(text: str) -> str:
    """Without a doctor's name and regards at the end, which say nothing of the answer."""
    return _SIGNED.sub("", text).strip()
