"""Chunks that say the same: found as they come, so that each is kept once.

Candidates come by digest and, where there are many, by MinHash (Broder 1997) and locality-sensitive
hashing. What is alike is then decided on the words themselves, never on an estimate.
"""

import os
import tempfile
from array import array
from collections.abc import Iterable, Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

from indexer.domain import DuplicateSettings
from indexer.settings import store_errors
from indexer.text.sketches import (
    SKETCH_VERSION,
    Sketcher,
    alike,
    band_keys,
    equal_key,
    sketch,
    telling_key,
)

__all__ = ["SKETCH_VERSION", "Duplicates", "sketch"]

_FEW = 16
_CROWD = 256
_BUFFER = 1 << 20
_SLOTS = 1 << 12
_ROWS = 0xFFFFFFFF


class Duplicates:
    """Tells whether a text has been seen before; rows count the texts that had not.

    Two texts are alike when they are equal but for white space or when, both of eight words or
    more, all of this holds:
    - their sets of three-word shingles have a Jaccard similarity of `near` or more;
    - one holds every word of the other in the same order: words may be missing, none may stand in
      another's place ("renal" for "rectal" changes few shingles and everything else);
    - what tells statements apart is the same, in the same order: numbers with their signs, units
      and neighbours, names and other words with capitals, symbols, negations, quantities and
      obligations (a list for English).
    So a row of a table or a clause that differs in a number is never a copy of another. Texts of
    fewer than 25 words are alike below the same title and headings (their `context`) only.

    The answer depends on the texts and their order only. Memory is 32 to 56 bytes a text, and up to
    30 MB for words; a text's sketch lies in an unlinked file in `folder` and is read again for
    likely copies only, of which there are 256 at most. StoreError where it cannot be written.
    """

    def __init__(self, settings: DuplicateSettings, folder: Path | None = None) -> None:
        self._drop, self._near = settings.drop, settings.near
        self._folder = folder or Path(tempfile.gettempdir())
        self._sketcher = Sketcher()
        self._seen = _Table()
        self._ends = array("Q", [0])
        self._flushed = 0
        with store_errors(self._folder):
            self._file = tempfile.TemporaryFile(dir=self._folder, buffering=_BUFFER)

    def close(self) -> None:
        """Give the file back."""
        self._file.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        at: TracebackType | None,
    ) -> None:
        self.close()

    def original(self, text: str, context: str = "") -> int | None:
        """The row of an earlier text that this is alike, or None: then it gets the next row."""
        return self.original_of(self._sketcher(text, context))

    def original_of(self, sketched: bytes) -> int | None:
        """As `original`, from a sketch that was kept."""
        if not self._drop:
            return None
        equal = equal_key(sketched)
        known = self._like(sketched, self._seen.rows([equal]))
        if known is not None:
            return known
        keys, candidates = self._look(sketched)
        known = self._like(sketched, candidates)
        if known is None:
            self._put(sketched, [equal, *keys])
        return known

    def _like(self, sketched: bytes, candidates: set[int]) -> int | None:
        """The first of these rows that is alike."""
        for row in sorted(candidates)[:_CROWD]:
            if alike(sketched, self._sketch(row), self._near):
                return row
        return None

    def _look(self, sketched: bytes) -> tuple[list[int], set[int]]:
        """The keys under which to put this text if it is new, and the rows that may be its like.

        The first few texts with the same telling words are compared with each other; MinHash finds
        the like among many. One more of a crowd is not put where it would be found no better.
        """
        telling = telling_key(sketched)
        if telling is None or self._near == 1.0:
            return [], set()
        few = self._seen.rows([telling])
        if len(few) < _FEW:
            return [telling], few
        bands = band_keys(sketched, self._near)
        found = few | self._seen.rows(bands)
        return [] if len(found) >= _CROWD else bands, found

    def _sketch(self, row: int) -> bytes:
        start, end = self._ends[row], self._ends[row + 1]
        with store_errors(self._folder):
            if end > self._flushed:
                self._file.flush()
                self._flushed = self._ends[-1]
            return os.pread(self._file.fileno(), end - start, start)

    def _put(self, sketched: bytes, keys: Sequence[int]) -> None:
        row = len(self._ends) - 1
        self._seen.put(keys, row)
        with store_errors(self._folder):
            self._file.write(sketched)
        self._ends.append(self._ends[row] + len(sketched))


class _Table:
    """From a 32-bit key to the rows that have it: open addressing in one array, 8 bytes a slot.

    A dict of the same would take ten times as much.
    """

    def __init__(self) -> None:
        self._slots = array("Q", bytes(8 * _SLOTS))
        self._used = 0

    def rows(self, keys: Iterable[int]) -> set[int]:
        """Those that have any of these keys."""
        slots, mask = self._slots, len(self._slots) - 1
        found = set()
        for key in keys:
            place = key & mask
            while entry := slots[place]:
                if entry >> 32 == key:
                    found.add((entry & _ROWS) - 1)
                place = place + 1 & mask
        return found

    def put(self, keys: Sequence[int], row: int) -> None:
        self._used += len(keys)
        if 3 * self._used > 2 * len(self._slots):
            self._grow()
        self._insert(key << 32 | row + 1 for key in keys)

    def _insert(self, entries: Iterable[int]) -> None:
        slots, mask = self._slots, len(self._slots) - 1
        for entry in entries:
            place = entry >> 32 & mask
            while slots[place]:
                place = place + 1 & mask
            slots[place] = entry

    def _grow(self) -> None:
        old = self._slots
        self._slots = array("Q", bytes(16 * len(old)))
        self._insert(filter(None, old))
