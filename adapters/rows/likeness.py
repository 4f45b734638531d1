"""Which texts are so alike that one gives the other away: for leaks, not for facts.

Unlike the index, which keeps two clauses that differ in a number, this calls them alike: an answer
that is known for the one helps with the other.
"""

from __future__ import annotations

import re
import zlib
from collections import Counter
from collections.abc import Iterable
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
_OFTEN: Final = 5
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
    """Texts that have thirteen words running in common: what evaluations call contaminated.

    So a problem is found whose question another one gives as a fact. Words that stand in more than
    five different `texts` are an instruction or a template, and tell nothing.
    """

    def __init__(self, texts: Iterable[str]) -> None:
        traces = {trace.plain: trace for trace in map(_known, texts)}
        count = Counter(run for trace in traces.values() for run in trace.runs)
        self._often = frozenset(run for run, times in count.items() if times > _OFTEN)

    def between(self, one: str, other: str) -> bool:
        """Have these two such words in common?"""
        return bool((_known(one).runs & _known(other).runs) - self._often)


@dataclass(frozen=True, slots=True)
class _Trace:
    """What a text is compared by: its letters, their runs, and its runs of words as digests."""

    plain: str
    grams: NDArray[np.uint32]
    runs: frozenset[int]


def _trace(text: str) -> _Trace:
    plain = _plain(text)
    return _Trace(plain, _grams(plain), frozenset(word_runs(plain)))


_cached = lru_cache(_CACHED)(_trace)


def _known(text: str) -> _Trace:
    """A training run compares each text with dozens of others; long ones are not kept."""
    return _cached(text) if len(text) <= _LONGEST_CACHED else _trace(text)


def word_runs(plain: str) -> Iterable[int]:
    """Digests of every thirteen words that follow each other; none of a shorter text."""
    words = plain.split()
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
