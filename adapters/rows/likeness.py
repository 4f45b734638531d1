"""Which texts are so alike that one gives the other away: for leaks, not for facts.

Unlike the index, which keeps two clauses that differ in a number, this calls them alike: an answer
that is known for the one helps with the other.
"""

from __future__ import annotations

import re
import zlib
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Final

import numpy as np
from numpy.typing import NDArray

_SPACE = re.compile(r"[\W_]+")
_GRAM: Final = 5
_SLOTS: Final = 128
_BANDS: Final = 32
_SEED: Final = 7
_RUN: Final = 13
_OFTEN: Final = 10
_MANY: Final = 5_000
_CACHED: Final = 32_768
_LONGEST_CACHED: Final = 4_000


class Alike:
    """Remembers texts; two are alike when their runs of five letters have this Jaccard similarity.

    Candidates come from MinHash (Broder 1997) in bands, and are then compared exactly. Case,
    punctuation and white space do not count. Memory is four bytes a letter and 1 KB a text.
    """

    def __init__(self, near: float = 0.8) -> None:
        from rensa import RMinHashLSH

        self._near = near
        self._exact: dict[str, int] = {}
        self._grams: list[NDArray[np.uint32]] = []
        self._bands = RMinHashLSH(near, _SLOTS, _BANDS)

    def first(self, text: str) -> int | None:
        """The number of the earliest text like this one; None if there is none."""
        plain = _plain(text)
        if plain in self._exact:
            return self._exact[plain]
        grams = _grams(plain)
        if not grams.size:
            return None
        found = sorted(self._bands.query(_sketch(grams)))
        return next((at for at in found if self._similar(at, grams)), None)

    def add(self, text: str) -> int:
        """Remember a text; its number is the count of those before."""
        plain, number = _plain(text), len(self._grams)
        grams = _grams(plain)
        self._exact.setdefault(plain, number)
        self._grams.append(grams)
        if grams.size:
            self._bands.insert(number, _sketch(grams))
        return number

    def _similar(self, number: int, grams: NDArray[np.uint32]) -> bool:
        return _similarity(self._grams[number], grams) >= self._near


def alike(one: str, other: str, near: float) -> bool:
    """Are two texts one by this similarity?"""
    first, second = _known(one), _known(other)
    if first.plain == second.plain:
        return True
    few, many = sorted((first.grams.size, second.grams.size))
    return few >= near * many and _similarity(first.grams, second.grams) >= near


class SharedRuns:
    """Thirteen words running: what texts have in common by them, and what they all say.

    Two texts with such words in common are what evaluations call contaminated: a problem whose
    question another one gives as a fact is found so. But words that stand in more than `often`
    different `texts` are an instruction or a template, and tell nothing. Of many texts some five
    thousand are looked at, evenly spread.
    """

    def __init__(self, texts: Iterable[str], often: int = _OFTEN) -> None:
        traces = {trace.plain: trace for trace in map(_known, spread(texts, _MANY))}
        count = Counter(run for trace in traces.values() for run in trace.runs)
        self._often = frozenset(run for run, times in count.items() if times > often)

    def between(self, one: str, other: str) -> bool:
        """Have these two such words in common?"""
        return bool(self.of(one) & self.of(other))

    def of(self, text: str) -> frozenset[int]:
        """A text's own runs, as digests."""
        return _known(text).runs - self._often

    def without(self, text: str) -> str:
        """The text without the words of a template; whole if there is nothing else in it."""
        if not self._often:
            return text
        words = _plain(text).split()
        shared: set[int] = set()
        for at, run in enumerate(word_runs(words)):
            if run in self._often:
                shared.update(range(at, at + _RUN))
        return " ".join(word for at, word in enumerate(words) if at not in shared) or text


def spread(items: Iterable[str], most: int) -> list[str]:
    """Evenly spread, at least `most` of them if there are so many, and at most twice that."""
    kept: list[str] = []
    stride = 1
    for number, item in enumerate(items):
        if number % stride == 0:
            kept.append(item)
        if len(kept) > 2 * most:
            kept, stride = kept[::2], 2 * stride
    return kept


@dataclass(frozen=True, slots=True)
class _Trace:
    """What a text is compared by: its letters, their runs, and its runs of words as digests."""

    plain: str
    grams: NDArray[np.uint32]
    runs: frozenset[int]


def _trace(text: str) -> _Trace:
    plain = _plain(text)
    return _Trace(plain, _grams(plain), frozenset(word_runs(plain.split())))


_cached = lru_cache(_CACHED)(_trace)


def _known(text: str) -> _Trace:
    """A training run compares each text with dozens of others; long ones are not kept."""
    return _cached(text) if len(text) <= _LONGEST_CACHED else _trace(text)


def word_runs(words: Sequence[str]) -> Iterable[int]:
    """Digests of every thirteen words that follow each other; none of a shorter text."""
    for at in range(len(words) - _RUN + 1):
        yield zlib.crc32(" ".join(words[at : at + _RUN]).encode())


def _similarity(one: NDArray[np.uint32], other: NDArray[np.uint32]) -> float:
    """Jaccard's, of sets without repetitions."""
    both = int(np.intersect1d(one, other, assume_unique=True).size)
    return both / max(1, one.size + other.size - both)


def _plain(text: str) -> str:
    return _SPACE.sub(" ", text).strip().casefold()


def _grams(plain: str) -> NDArray[np.uint32]:
    found = {
        zlib.crc32(plain[at : at + _GRAM].encode()) for at in range(max(1, len(plain) - _GRAM + 1))
    }
    return np.array(sorted(found) if plain else [], np.uint32)


def _sketch(grams: NDArray[np.uint32]) -> object:
    from rensa import RMinHash

    sketch = RMinHash(_SLOTS, _SEED)
    sketch.update([str(gram) for gram in grams])
    return sketch
