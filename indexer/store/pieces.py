"""Chunks and vectors in a catalog: what was split by which recipe, what was embedded by what."""

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from indexer.records import Chunk, Document, Vectors
from indexer.store.catalog import Catalog
from indexer.store.tables import CHUNK, DOCUMENT, Row, chunk_row, read_chunk, read_document

Key = bytes
_PAGE = 64
_BATCH = 500


def text_key(role: str, text: str) -> Key:
    """Names a text to embed in 16 bytes; "passage" and "question" are embedded differently."""
    return hashlib.sha256(f"{role}\0{text}".encode()).digest()[:16]


@dataclass(frozen=True, slots=True)
class KeyedChunk:
    """A chunk, the key of the text that is embedded for it, and what tells its copies."""

    chunk: Chunk
    key: Key
    sketch: bytes = b""


class Pieces:
    """Documents with their chunks, always by path and place."""

    def __init__(self, catalog: Catalog) -> None:
        self._catalog = catalog

    def documents(self) -> Iterator[Row]:
        """All of them, packed; nothing may be written to them meanwhile."""
        return self._catalog.stream(f"SELECT {DOCUMENT} FROM documents ORDER BY path")

    def chunks(self) -> Iterator[tuple[Row, Key, bytes]]:
        """All of them, packed, with key and sketch; nothing may be written to them meanwhile."""
        query = f"SELECT key, sketch, {CHUNK} FROM chunks ORDER BY document, number"
        for key, sketch, *chunk in self._catalog.stream(query):
            yield tuple(chunk), key, sketch

    def chunks_of(self, path: str) -> list[KeyedChunk]:
        query = f"SELECT {CHUNK}, key, sketch FROM chunks WHERE document = ? ORDER BY number"
        return [KeyedChunk(read_chunk(r[:-2]), *r[-2:]) for r in self._catalog.rows(query, path)]

    def unsplit(self, recipe: str) -> Iterator[Document]:
        """Documents that were split by another recipe or not at all; they may be put meanwhile."""
        query = (
            f"SELECT {DOCUMENT} FROM documents WHERE recipe != ? AND path > ?"
            f" ORDER BY path LIMIT {_PAGE}"
        )
        last = ""
        while page := self._catalog.rows(query, recipe, last):
            for row in page:
                yield read_document(row)
            last = page[-1][0]

    def count_unsplit(self, recipe: str) -> int:
        return self._catalog.count("SELECT count(*) FROM documents WHERE recipe != ?", recipe)

    def put(self, path: str, chunks: Sequence[KeyedChunk], recipe: str) -> None:
        """Replace a document's chunks."""
        rows = [(*chunk_row(c.chunk), number, c.key, c.sketch) for number, c in enumerate(chunks)]
        with self._catalog.unit() as db:
            db.execute("DELETE FROM chunks WHERE document = ?", (path,))
            db.executemany(_PUT_CHUNK, rows)
            db.execute("UPDATE documents SET recipe = ? WHERE path = ?", (recipe, path))


class VectorCache:
    """What embedders made of texts, by fingerprint and key."""

    def __init__(self, catalog: Catalog, fingerprint: str) -> None:
        self._catalog = catalog
        query = "SELECT id FROM fingerprints WHERE name = ?"
        if not catalog.rows(query, fingerprint):
            with catalog.unit() as db:
                db.execute("INSERT INTO fingerprints(name) VALUES (?)", (fingerprint,))
        [(self.number,)] = catalog.rows(query, fingerprint)

    def put(self, vectors: Mapping[Key, Vectors]) -> None:
        rows = [(self.number, key, v.astype("<f4").tobytes()) for key, v in vectors.items()]
        with self._catalog.unit() as db:
            db.executemany("INSERT OR REPLACE INTO vectors VALUES (?, ?, ?)", rows)

    def known(self, keys: Sequence[Key]) -> set[Key]:
        """Those that have been embedded."""
        return {key for key, _ in self._found("key, 0", keys)}

    def get(self, keys: Sequence[Key]) -> Vectors:
        """A row for each; KeyError for one that has not been embedded."""
        found = dict(self._found("key, vector", keys))
        joined = b"".join([found[key] for key in keys])
        return np.frombuffer(joined, "<f4").reshape(len(keys), -1).astype(np.float32, copy=False)

    def _found(self, columns: str, keys: Sequence[Key]) -> Iterator[tuple[Key, bytes]]:
        for start in range(0, len(keys), _BATCH):
            some = keys[start : start + _BATCH]
            marks = ",".join("?" * len(some))
            query = f"SELECT {columns} FROM vectors WHERE fingerprint = ? AND key IN ({marks})"
            yield from self._catalog.rows(query, self.number, *some)

    def unembedded(self) -> Iterator[str]:
        """Paths of documents with a chunk whose text has no vector; these may be put meanwhile."""
        last = ""
        while page := self._catalog.rows(_UNEMBEDDED, last, self.number):
            for (path,) in page:
                yield path
            last = page[-1][0]

    def count_unembedded(self) -> int:
        """Texts, each counted once."""
        return self._catalog.count(_COUNT_UNEMBEDDED, self.number)


def prune_vectors(catalog: Catalog, fingerprints: Sequence[str], questions: Sequence[Key]) -> None:
    """Forget what no chunk and no question needs, and the work of other embedders."""
    with catalog.unit() as db:
        db.execute("CREATE TEMP TABLE kept(key BLOB PRIMARY KEY) WITHOUT ROWID")
        db.execute("INSERT OR IGNORE INTO kept SELECT key FROM chunks")
        db.executemany("INSERT OR IGNORE INTO kept VALUES (?)", [(key,) for key in questions])
        marks = ",".join("?" * len(fingerprints))
        db.execute(f"DELETE FROM fingerprints WHERE name NOT IN ({marks})", list(fingerprints))
        db.execute(_PRUNE)
        db.execute("DROP TABLE kept")


_MARKS = ",".join("?" * 9)
_PUT_CHUNK = f"INSERT INTO chunks({CHUNK}, number, key, sketch) VALUES ({_MARKS})"
_UNEMBEDDED = f"""
SELECT path FROM documents d WHERE path > ? AND EXISTS (
    SELECT 1 FROM chunks c WHERE c.document = d.path AND NOT EXISTS (
        SELECT 1 FROM vectors v WHERE v.fingerprint = ? AND v.key = c.key))
ORDER BY path LIMIT {_PAGE}
"""
_COUNT_UNEMBEDDED = """
SELECT count(DISTINCT key) FROM chunks c WHERE NOT EXISTS (
    SELECT 1 FROM vectors v WHERE v.fingerprint = ? AND v.key = c.key)
"""
_PRUNE = """
DELETE FROM vectors WHERE fingerprint NOT IN (SELECT id FROM fingerprints)
    OR key NOT IN (SELECT key FROM kept)
"""
