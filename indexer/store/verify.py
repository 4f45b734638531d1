"""Whether a snapshot is what was written and can be searched, found out in a process of its own."""

import contextlib
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import orjson

from indexer.errors import DslmError, StoreError
from indexer.store.aside import Aside
from indexer.store.draft import RECORDS
from indexer.store.manifest import mark_file, read_manifest

if TYPE_CHECKING:
    from indexer.index.vectors import VectorIndex
    from indexer.store.opened import Snapshot

_SAMPLE = 64
_NEAR_ITSELF = 1e-3
_REMEDY = "Index the domain again; until then activate a release with another snapshot"


def verify_snapshot(path: Path, waiting: Callable[[], None] = lambda: None) -> None:
    """StoreError unless a process of its own can read all of it: a bad index may kill that one.

    `waiting` is called again and again meanwhile; what it raises ends that process.
    """
    try:
        with Aside("indexer.store.verify", path) as child:
            child.join(waiting)
    except StoreError as error:
        raise StoreError(error.message, _REMEDY) from error


def check_snapshot(path: Path) -> None:
    """What `verify_snapshot` does in its process: digests, counts, spans, and a search."""
    from indexer.store.opened import open_snapshot

    _, manifest = read_manifest(path)
    for name, mark in manifest.files.items():
        if mark_file(path / name) != mark:
            raise StoreError(f"{path / name} is not what was written")
    with contextlib.closing(open_snapshot(path)) as snapshot:
        _check_counts(snapshot)
        _check_sentences(snapshot)
        embedders = manifest.embedder, manifest.for_demonstrations()
        _check_index(path, snapshot.passages, manifest.chunks, embedders[0].dimension)
        _check_index(path, snapshot.demonstrations, manifest.demonstrations, embedders[1].dimension)
        if snapshot.lexical.count != manifest.chunks:
            raise StoreError(f"{path} holds the words of {snapshot.lexical.count} chunks")
        snapshot.lexical.check()


def _check_counts(snapshot: "Snapshot") -> None:
    manifest = snapshot.manifest
    if snapshot.read("PRAGMA quick_check") != [("ok",)]:
        raise StoreError(f"{snapshot.path / RECORDS} is corrupt")
    for table in ("documents", "chunks", "copies", "demonstrations"):
        [(count,)] = snapshot.read(f"SELECT count(*) FROM {table}")
        if count != getattr(manifest, table):
            raise StoreError(f"{snapshot.path / RECORDS} holds {count} {table}")


def _check_sentences(snapshot: "Snapshot") -> None:
    """Every sentence of every chunk is in its document's text, from its first sign to its last."""
    found = 0
    for path in snapshot.document_paths():
        [(text,)] = snapshot.read("SELECT text FROM documents WHERE path = ?", path)
        query = "SELECT sentences FROM chunks WHERE document = ?"
        for (sentences,) in snapshot.read(query, path):
            for start, end in orjson.loads(sentences):
                quote = text[start:end]
                found += quote.strip() == quote != "" and len(quote) == end - start
    if found != snapshot.manifest.sentences:
        raise StoreError(f"{snapshot.path / RECORDS} holds sentences that are not in its texts")


def _check_index(path: Path, index: "VectorIndex", count: int, dimension: int) -> None:
    if (index.count, index.dimension) != (count, dimension):
        raise StoreError(f"{path} holds {index.count} vectors of {index.dimension} numbers")
    rows = range(0, count, max(1, count // _SAMPLE))
    for row, vector in zip(rows, index.vectors(rows), strict=True):
        scores, found = index.search(vector, 1)
        if abs(float(scores[0, 0]) - 1.0) > _NEAR_ITSELF or int(found[0, 0]) < 0:
            raise StoreError(f"{path} does not find its own vector {row}")


def _main() -> int:
    try:
        check_snapshot(Path(sys.argv[1]))
    except DslmError as error:
        sys.stderr.write(f"{error.message}\n")
        return error.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(_main())
