"""Pieces of documents' texts, at a cost that does not grow with the documents.

Offsets count characters and SQLite keeps bytes, so a long text needs a table of where every so
many characters begin; it is made when the first piece is wanted and kept for the next.
"""

import sqlite3
import threading
from collections import OrderedDict
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from indexer.store.snapshot import Snapshot

Marks = NDArray[np.int64]

_SHORT = 32_768  # bytes, up to which a text is read as a whole
_STEP = 4096  # characters between two marks
_BLOCK = 1 << 20
_REMEMBERED = 2048  # documents: 2 KB a megabyte each


class Texts:
    """Of one snapshot; a document is known by its number in records.db. For many threads."""

    def __init__(self, snapshot: Snapshot) -> None:
        self._snapshot = snapshot
        self._lock = threading.Lock()
        self._marks: OrderedDict[int, Marks] = OrderedDict()

    def read(self, document: int, spans: Sequence[tuple[int, int]]) -> list[str]:
        """The texts of `[start, end)`, in characters."""
        with self._snapshot.open_text(document) as blob:
            if len(blob) <= _SHORT:
                text = blob.read().decode()
                return [text[start:end] for start, end in spans]
            marks = self._remembered(document)
            if marks is None:
                marks = _mark(blob)
                self._remember(document, marks)
            return [_cut(blob, marks, start, end) for start, end in spans]

    def _remembered(self, document: int) -> Marks | None:
        with self._lock:
            if document in self._marks:
                self._marks.move_to_end(document)
            return self._marks.get(document)

    def _remember(self, document: int, marks: Marks) -> None:
        with self._lock:
            self._marks[document] = marks
            while len(self._marks) > _REMEMBERED:
                self._marks.popitem(last=False)


def _mark(blob: sqlite3.Blob) -> Marks:
    """The byte at which every so many characters begin, and at last the text's length."""
    found, characters = [], 0
    blob.seek(0)
    for at in range(0, len(blob), _BLOCK):
        block = np.frombuffer(blob.read(_BLOCK), dtype=np.uint8)
        begins = np.flatnonzero((block & 0xC0) != 0x80)  # UTF-8: every byte but a continuation
        found.append(at + begins[-characters % _STEP :: _STEP])
        characters += len(begins)
    return np.concatenate([*found, [len(blob)]]).astype(np.int64)


def _cut(blob: sqlite3.Blob, marks: Marks, start: int, end: int) -> str:
    first = start // _STEP
    last = min(-(-end // _STEP), len(marks) - 1)
    blob.seek(int(marks[first]))
    part = blob.read(int(marks[last] - marks[first])).decode()
    return part[start - first * _STEP : end - first * _STEP]
