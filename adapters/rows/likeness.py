"""Which texts are so alike that one gives the other away: for leaks, not for facts.

Unlike the index, which keeps two clauses that differ in a number, this calls them alike: an answer
that is known for the one helps with the other.
"""

from __future__ import annotations

import re
import zlib
from typing import Final

import numpy as np
from numpy.typing import NDArray

_SPACE = re.compile(r"[\W_]+")
_GRAM: Final = 5
_SLOTS: Final = 128
_BANDS: Final = 32
_SEED: Final = 7


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
    first, second = _plain(one), _plain(other)
    return first == second or _similarity(_grams(first), _grams(second)) >= near


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
