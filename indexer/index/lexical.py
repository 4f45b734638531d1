"""BM25 over chunks, by row number: built in one pass, searched in memory-mapped files.

The scores are those of Lucene's BM25 (Robertson and Zaragoza, 2009; k1 = 1.5, b = 0.75), computed
when the index is built and summed when it is asked, as bm25s does it (arXiv:2407.03618).
"""

import json
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from indexer.errors import StoreError
from indexer.index.lexical_build import (
    FORMAT,
    MARK,
    ROWS,
    SCORES,
    STARTS,
    WORDS,
    Array,
    build,
    word_key,
)
from indexer.index.lexical_words import Stems
from indexer.records import Vectors
from indexer.settings import store_errors

__all__ = ["FILES", "LexicalIndex", "Scored", "build"]

Rows = NDArray[np.int64]

FILES = (MARK, ROWS, SCORES, STARTS, WORDS)
_NO_SCORES = np.empty(0, dtype=np.float32)
_NO_ROWS = np.empty(0, dtype=np.int64)


@dataclass(frozen=True, slots=True)
class Scored:
    """The BM25 of each row for one text [count], and for each word of it the rows that hold it."""

    scores: Vectors
    holders: tuple[NDArray[np.int32], ...]

    def best(self, k: int, allowed: Rows | None = None) -> tuple[Vectors, Rows]:
        """At most `k` scores and rows, best first, then by row; of `allowed` rows only, if given.

        Only rows that share a word.
        """
        if not self.holders or k <= 0:
            return _NO_SCORES, _NO_ROWS
        if allowed is not None:
            best = allowed[_best(self.scores[allowed], k, 0.0)]
        else:
            best = _best(self.scores, k, self._floor(k))
        return self.scores[best], best

    def of(self, rows: Rows) -> Vectors:
        """Of these rows, 0 where no word is shared."""
        return self.scores[rows]

    def _floor(self, k: int) -> float:
        """What the k-th best score reaches at least: the k-th best among one word's rows does.

        It spares sorting every row that holds a common word.
        """
        many = [rows for rows in self.holders if len(rows) >= k]
        if not many:
            return 0.0
        among = self.scores[min(many, key=len)]
        return float(np.partition(among, len(among) - k)[len(among) - k])


class LexicalIndex:
    """The scores of each word in the rows that hold it; several threads may search at once."""

    def __init__(
        self,
        count: int,
        words: NDArray[np.uint64],
        starts: NDArray[np.int64],
        rows: NDArray[np.int32],
        scores: Vectors,
    ) -> None:
        self.count = count
        self._words = words
        self._starts = starts
        self._rows = rows
        self._scores = scores
        self._stems = Stems()

    @classmethod
    def load(cls, folder: Path) -> "LexicalIndex":
        """StoreError when a file is missing, cut short or of another format."""
        count = _read_mark(folder / MARK)
        words = _open(folder / WORDS, np.uint64)
        starts = _open(folder / STARTS, np.int64)
        rows = _open(folder / ROWS, np.int32)
        scores = _open(folder / SCORES, np.float32)
        sizes = (len(words) + 1, len(rows), len(rows))
        if sizes != (len(starts), len(scores), int(starts[-1]) if len(starts) else -1):
            raise StoreError(f"The files of {folder} do not belong together", _REMEDY)
        return cls(count, words, starts, rows, scores)

    def search(
        self, text: str, k: int, allowed: Rows | None = None, excluded: Rows | None = None
    ) -> tuple[Vectors, Rows]:
        """At most `k` scores and rows, best first, then by row; only rows that share a word.

        Of `allowed` rows only, where given, and never of `excluded` ones.
        """
        return self.scored(text, excluded).best(k, allowed)

    def scored(self, text: str, excluded: Rows | None = None) -> Scored:
        """What every row shares with a text; `excluded` rows share nothing."""
        scores, holders = np.zeros(self.count, dtype=np.float32), []
        for start, end, times in self._spans(text):
            part = self._scores[start:end]
            holders.append(self._rows[start:end])
            # Half the time of `scores[rows] += part`, which copies what it adds to.
            np.add.at(scores, holders[-1], part if times == 1 else part * np.float32(times))
        if excluded is not None:
            scores[excluded] = 0
        return Scored(scores, tuple(holders))

    def check(self) -> None:
        """StoreError unless every row that is named exists: what a search relies on."""
        ordered = bool(np.all(np.diff(self._starts) >= 0)) and int(self._starts[0]) == 0
        held = not len(self._rows) or (self._rows.min() >= 0 and self._rows.max() < self.count)
        if not ordered or not held or not np.all(np.isfinite(self._scores)):
            raise StoreError("The index of words names rows that do not exist", _REMEDY)

    def _spans(self, text: str) -> list[tuple[int, int, int]]:
        """Of each word that the index holds: where its rows lie, and how often it was asked."""
        asked = Counter(self._stems.of(text))
        if not asked or not len(self._words):
            return []
        keys = np.array([word_key(word) for word in asked], dtype=np.uint64)
        at = np.minimum(np.searchsorted(self._words, keys), len(self._words) - 1)
        return [
            (int(self._starts[place]), int(self._starts[place + 1]), times)
            for place, key, times in zip(at.tolist(), keys, asked.values(), strict=True)
            if self._words[place] == key
        ]


_REMEDY = "Index the domain again"


def _best(scores: Vectors, k: int, floor: float) -> Rows:
    """Where the `k` best positive scores stand, best first, then in order."""
    found = np.flatnonzero(scores >= floor if floor > 0 else scores > 0)
    order = np.argsort(-scores[found], kind="stable")[:k]
    return found[order].astype(np.int64, copy=False)


def _read_mark(path: Path) -> int:
    with store_errors(path):
        content = path.read_bytes()
    try:
        mark = json.loads(content)
        if mark["format"] == FORMAT:
            return int(mark["rows"])
    except (ValueError, KeyError, TypeError) as error:
        raise StoreError(f"{path} is not the mark of an index of words", _REMEDY) from error
    raise StoreError(f"{path} has format {mark['format']}, this program reads {FORMAT}", _REMEDY)


def _open(path: Path, kind: type[np.generic]) -> Array:
    """Memory-mapped, without numpy's class for that, whose slices cost microseconds each."""
    with store_errors(path):
        try:
            values = np.asarray(np.load(path, mmap_mode="r", allow_pickle=False))
        except ValueError as error:
            raise StoreError(f"{path} is not what was written: {error}", _REMEDY) from error
    if values.dtype != kind or values.ndim != 1:
        raise StoreError(f"{path} holds {values.dtype} instead of {kind.__name__}", _REMEDY)
    return values
