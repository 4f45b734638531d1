"""Makes the files of a BM25 index in one pass over the texts, in memory that does not grow.

What a pass finds (word, row, how often) goes to a nameless file beside the result; then the words
are taken a group at a time, as many as fit a fixed number of postings. In memory stay the
vocabulary and 8 bytes a chunk. The same texts give the same bytes.
"""

import hashlib
import json
import math
import os
import tempfile
from array import array
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from indexer.index.lexical_words import LANGUAGE, Stems, words
from indexer.settings import store_errors, sync_folder, write_atomically

FORMAT = 1
MARK, WORDS, STARTS, ROWS, SCORES = (
    "lexical.json",
    "words.npy",
    "starts.npy",
    "rows.npy",
    "scores.npy",
)
K1 = 1.5
B = 0.75

_POSTING = np.dtype([("word", "<u4"), ("row", "<i4"), ("times", "<u2")])
_MOST_TIMES = 65_535
_BLOCK = 1 << 16  # words kept back, or postings read, at a time
_GROUP = 1 << 21  # postings sorted at a time
_SURFACES = 1 << 20  # spellings remembered
_STOPPED = 0xFFFFFFFF
_HALF, _WORD_BITS = np.uint64(32), np.uint64(0xFFFFFFFF)

Array: TypeAlias = NDArray[Any]


def word_key(stem: str) -> int:
    """64 bits that stand for a word; two of a million words share them once in 10^7 indexes."""
    return int.from_bytes(hashlib.blake2b(stem.encode(), digest_size=8).digest(), "little")


def build(texts: Callable[[], Iterable[str]], folder: Path) -> None:
    """Write the index of what `texts` gives, one a row, durably. StoreError where it cannot."""
    with store_errors(folder):
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder) as spool:
            postings = _Postings(spool)
            for text in texts():
                postings.add(text)
            postings.write(folder)
        sync_folder(folder)


class _Surfaces(dict[str, int]):
    """From a word to the number of its stem, or `_STOPPED`; beyond number it begins anew."""

    def __init__(self) -> None:
        super().__init__()
        self.numbers: dict[str, int] = {}  # of stems, in order of appearance
        self._stems = Stems()

    def __missing__(self, word: str) -> int:
        stem = self._stems.stem(word)
        number = self.numbers.setdefault(stem, len(self.numbers)) if stem else _STOPPED
        if len(self) >= _SURFACES:
            self.clear()
        self[word] = number
        return number


@dataclass(slots=True)
class _Postings:
    """Which words stand in which rows, in the order of the rows."""

    spool: IO[bytes]
    surfaces: _Surfaces = field(default_factory=_Surfaces)
    lengths: "array[int]" = field(default_factory=lambda: array("I"))
    waiting: "array[int]" = field(default_factory=lambda: array("I"))  # words of whole rows
    sizes: "array[int]" = field(default_factory=lambda: array("I"))  # of these rows

    def add(self, text: str) -> None:
        before = len(self.waiting)
        self.waiting.extend(map(self.surfaces.__getitem__, words(text)))
        self.sizes.append(len(self.waiting) - before)
        if len(self.waiting) >= _BLOCK:
            self._flush()

    def _flush(self) -> None:
        """Count the words of each row that waits."""
        found = np.array(self.waiting, dtype=np.uint64)
        rows = np.repeat(np.arange(len(self.sizes), dtype=np.uint64), self.sizes)
        kept = found != _STOPPED
        pairs, times = np.unique(rows[kept] << _HALF | found[kept], return_counts=True)
        postings = np.empty(len(pairs), dtype=_POSTING)
        postings["word"], postings["times"] = pairs & _WORD_BITS, np.minimum(times, _MOST_TIMES)
        postings["row"] = len(self.lengths) + (pairs >> _HALF)
        self.spool.write(postings.tobytes())
        counted = np.bincount(rows[kept].astype(np.int64), minlength=len(self.sizes))
        self.lengths.frombytes(counted.astype(np.uint32).tobytes())
        del self.waiting[:], self.sizes[:]

    def blocks(self, order: Array) -> Iterator[Array]:
        """All postings, their words numbered anew by `order`."""
        self.spool.seek(0)
        while block := self.spool.read(_BLOCK * _POSTING.itemsize):
            postings = np.frombuffer(block, dtype=_POSTING).copy()
            postings["word"] = order[postings["word"]]
            yield postings

    def write(self, folder: Path) -> None:
        self._flush()
        keys = np.array([word_key(stem) for stem in self.surfaces.numbers], dtype=np.uint64)
        known, order = np.unique(keys, return_inverse=True)
        rows_of_word = np.zeros(len(known), dtype=np.int64)
        for block in self.blocks(order):
            rows_of_word += np.bincount(block["word"], minlength=len(known))
        starts = np.concatenate([[0], np.cumsum(rows_of_word)]).astype(np.int64)
        _write(folder / WORDS, known)
        _write(folder / STARTS, starts)
        self._write_scores(folder, order, starts)
        count = len(self.lengths)
        mark = {"format": FORMAT, "rows": count, "language": LANGUAGE, "k1": K1, "b": B}
        write_atomically(folder / MARK, json.dumps(mark, indent=2).encode() + b"\n")

    def _write_scores(self, folder: Path, order: Array, starts: Array) -> None:
        lengths = np.frombuffer(self.lengths, dtype=np.uint32).astype(np.float32)
        average = max(float(lengths.mean(dtype=np.float64)) if len(lengths) else 0.0, 1.0)
        damping = np.float32(K1) * (np.float32(1 - B) + np.float32(B) * lengths / average)
        with (
            (folder / ROWS).open("wb") as rows,
            (folder / SCORES).open("wb") as scores,
        ):
            total = int(starts[-1])
            _write_header(rows, np.dtype(np.int32), total)
            _write_header(scores, np.dtype(np.float32), total)
            for first, last in _groups(starts):
                group = self._group(order, first, last)
                times = group["times"].astype(np.float32)
                part = times / (damping[group["row"]] + times)
                rarity = _rarities(np.diff(starts[first : last + 1]), len(lengths))
                rows.write(np.ascontiguousarray(group["row"]).tobytes())
                scores.write((rarity[group["word"] - first] * part).astype("<f4").tobytes())
            _sync(rows)
            _sync(scores)

    def _group(self, order: Array, first: int, last: int) -> Array:
        """The postings of the words [first, last): by word, then by row."""
        parts = [
            block[(block["word"] >= first) & (block["word"] < last)] for block in self.blocks(order)
        ]
        group = np.concatenate(parts) if parts else np.empty(0, dtype=_POSTING)
        return group[np.argsort(group["word"], kind="stable")]  # rows are in order already


def _groups(starts: Array) -> Iterator[tuple[int, int]]:
    """Ranges of words that have at most `_GROUP` postings together, or are one word."""
    first, count = 0, len(starts) - 1
    while first < count:
        last = int(np.searchsorted(starts, starts[first] + _GROUP, side="right")) - 1
        last = min(max(last, first + 1), count)
        yield first, last
        first = last


def _rarities(rows_of_word: Array, count: int) -> Array:
    """Robertson and Spärck Jones's weight of a word that so many of `count` rows hold."""
    weights = [math.log(1 + (count - n + 0.5) / (n + 0.5)) for n in rows_of_word.tolist()]
    return np.array(weights, dtype=np.float32)


def _write(path: Path, values: Array) -> None:
    with path.open("wb") as file:
        np.save(file, values)
        _sync(file)


def _write_header(file: IO[bytes], kind: "np.dtype[Any]", count: int) -> None:
    """What np.save writes before the values, for values that come bit by bit."""
    header = {"descr": kind.str, "fortran_order": False, "shape": (count,)}
    np.lib.format.write_array_header_1_0(file, header)  # type: ignore[no-untyped-call]


def _sync(file: IO[bytes]) -> None:
    file.flush()
    os.fsync(file.fileno())
