"""The rows of a snapshot, streamed from the catalog: chunks without their copies, and vectors."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import closing

import numpy as np

from indexer.domain import DuplicateSettings
from indexer.records import Place, Vectors
from indexer.store.catalog import Catalog
from indexer.store.pieces import Key, Pieces, VectorCache
from indexer.store.tables import Row

_BLOCK = 1024
_KEY_BYTES = 16
_TABLE = """
CREATE TEMP TABLE IF NOT EXISTS copied(
    row INTEGER NOT NULL, document TEXT NOT NULL, start INTEGER NOT NULL, end INTEGER NOT NULL);
DELETE FROM copied;
"""


class CachedVectors:
    """A vector per key, read from the catalog block by block; 16 bytes a row are in memory."""

    def __init__(self, vectors: VectorCache, dimension: int, waiting: Callable[[], None]) -> None:
        self._vectors = vectors
        self._waiting = waiting
        self._keys = bytearray()
        self.dimension = dimension

    def append(self, key: Key) -> None:
        self._keys += key

    @property
    def count(self) -> int:
        return len(self._keys) // _KEY_BYTES

    def blocks(self) -> Iterator[Vectors]:
        """In order of row, from the first at each call."""
        for start in range(0, self.count, _BLOCK):
            self._waiting()
            yield self.rows(range(start, min(start + _BLOCK, self.count)))

    def rows(self, rows: Sequence[int]) -> Vectors:
        if not len(rows):
            return np.empty((0, self.dimension), dtype=np.float32)
        starts = [_KEY_BYTES * int(row) for row in rows]
        keys = [bytes(self._keys[start : start + _KEY_BYTES]) for start in starts]
        return self._vectors.get(keys)


class KeptChunks:
    """Iterates over the chunks that get a row, once; then `copies` are the others' places."""

    def __init__(
        self, catalog: Catalog, settings: DuplicateSettings, vectors: CachedVectors
    ) -> None:
        self._catalog = catalog
        self._settings = settings
        self._vectors = vectors

    def __iter__(self) -> Iterator[Row]:
        # Imported here: what it stands on takes long, and an unchanged run needs none of it.
        from indexer.text.duplicates import Duplicates

        self._catalog.scratch(_TABLE)
        with closing(Duplicates(self._settings, self._catalog.path.parent)) as duplicates:
            for chunk, key, sketch in Pieces(self._catalog).chunks():
                original = duplicates.original_of(sketch)
                if original is None:
                    self._vectors.append(key)
                    yield chunk
                else:
                    _, document, start, end, *_ = chunk
                    values = (original, document, start, end)
                    self._catalog.scratch("INSERT INTO copied VALUES (?, ?, ?, ?)", *values)

    def copies(self) -> Iterator[tuple[int, Place]]:
        """The row that stands for it, and where the copy is; asked for after the chunks."""
        query = "SELECT row, document, start, end FROM copied ORDER BY row, rowid"
        for row, document, start, end in self._catalog.stream(query):
            yield row, Place(document, start, end)
