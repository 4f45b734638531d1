"""Words, stems, sentences and word overlap; knows nothing of models or tokens."""

import math
import re
from collections import Counter
from collections.abc import Iterable
from functools import lru_cache

WORD = re.compile(r"[A-Za-z0-9]+")
STOP_WORDS = frozenset(
    "a an the of to in on at by for with from and or but as is are was were be been being it its "
    "this that these those he she they his her their him them i you we my your our not no do does "
    "did has have had will would can could may might shall should must which who whom whose what "
    "when where why how if then than so such there here all any some one into upon about".split()
)
_SUFFIXES = ("ings", "ing", "edly", "ed", "es", "s", "ly", "e")
_SENTENCE_END = re.compile(r"(?<=[.!?])\s+(?=[\"“(]?[A-Z0-9])")
_ABBREVIATION = re.compile(
    r"\b(?:Mr|Mrs|Ms|Dr|St|No|vs|etc|e\.g|i\.e|U\.S|Inc|Co|Ltd|Jr|Sr|Prof|Gen|Col|[A-Z])\.$"
)


def stem(word: str) -> str:
    """A rough stem, enough to let 'shipping' meet 'shipped'."""
    word = word.lower()
    for suffix in _SUFFIXES:
        if word.endswith(suffix) and len(word) - len(suffix) >= 3:
            word = word.removesuffix(suffix)
            break
    if len(word) > 3 and word[-1] == word[-2]:
        word = word[:-1]
    return word[:-1] + "i" if word.endswith("y") and len(word) > 3 else word


@lru_cache(maxsize=400_000)
def stems(text: str) -> frozenset[str]:
    """All stems of a text."""
    return frozenset(stem(word) for word in WORD.findall(text))


@lru_cache(maxsize=20_000)
def content_stems(text: str) -> frozenset[str]:
    """The stems of a text that are not stop words."""
    words = (word for word in WORD.findall(text) if word.lower() not in STOP_WORDS)
    return frozenset(stem(word) for word in words)


def sentences(text: str) -> list[str]:
    """Split running text into sentences, joining what ends in an abbreviation."""
    found: list[str] = []
    for part in _SENTENCE_END.split(re.sub(r"\s+", " ", text).strip()):
        if found and _ABBREVIATION.search(found[-1]):
            found[-1] += " " + part
        elif part:
            found.append(part)
    return found


class Overlap:
    """How much of a question's content a sentence shares, rare words counting more."""

    def __init__(self, frequencies: dict[str, int], total: int) -> None:
        self.frequencies = frequencies
        self.total = total

    @classmethod
    def count(cls, texts: Iterable[str]) -> "Overlap":
        """Learn the rarity of stems from a collection of sentences."""
        frequencies: Counter[str] = Counter()
        total = 0
        for text in texts:
            frequencies.update({stem(word) for word in WORD.findall(text)})
            total += 1
        return cls(dict(frequencies), total)

    def rarity(self, word_stem: str) -> float:
        """Inverse document frequency of one stem."""
        return math.log((self.total + 1) / (self.frequencies.get(word_stem, 0) + 1))

    def __call__(self, question: str, sentence: str) -> float:
        """The share, 0 to 1, of the question's weighted stems that stand in the sentence."""
        wanted = {word: self.rarity(word) for word in content_stems(question)}
        present = stems(sentence)
        shared = sum(weight for word, weight in wanted.items() if word in present)
        return shared / (sum(wanted.values()) + 1e-6)
