"""Embeds only what has not been embedded before, and keeps it batch by batch."""

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from indexer.records import Vectors
from indexer.store.catalog import Catalog

_BATCH = 64


class TextEmbedder(Protocol):
    """What indexing needs of indexer.embedding.embedder.Embedder."""

    dtype: str
    fingerprint: str
    space: str
    dimension: int
    max_tokens: int

    def count_tokens(self, text: str) -> int: ...

    def embed_passages(self, texts: Sequence[str]) -> Vectors: ...

    def embed_symmetric(self, texts: Sequence[str]) -> Vectors: ...


@dataclass(frozen=True, slots=True)
class Embedded:
    """A row per passage and per demonstration's question, and how many texts were new."""

    passages: Vectors
    questions: Vectors
    new: int


def embed_texts(
    catalog: Catalog,
    embedder: TextEmbedder,
    passages: Sequence[str],
    questions: Sequence[str],
    report: Callable[[int, int], None],
) -> Embedded:
    """`report(done, total)` counts the texts that are new. A killed run keeps its batches."""
    wanted = {_key("passage", text): text for text in passages}
    asked = {_key("question", text): text for text in questions}
    known = catalog.vectors(embedder.fingerprint, [*wanted, *asked])
    new = [key for key in (*wanted, *asked) if key not in known]
    report(0, len(new))
    for texts, embed in ((wanted, embedder.embed_passages), (asked, embedder.embed_symmetric)):
        for batch in _batches({key: text for key, text in texts.items() if key not in known}):
            found = dict(zip(batch, embed([texts[key] for key in batch]), strict=True))
            catalog.put_vectors(embedder.fingerprint, found)
            known.update(found)
            report(sum(key in known for key in new), len(new))
    catalog.prune_vectors(embedder.fingerprint, known)
    return Embedded(
        _matrix([known[_key("passage", text)] for text in passages], embedder.dimension),
        _matrix([known[_key("question", text)] for text in questions], embedder.dimension),
        len(new),
    )


def _key(role: str, text: str) -> str:
    return hashlib.sha256(f"{role}\0{text}".encode()).hexdigest()


def _batches(texts: dict[str, str]) -> list[list[str]]:
    """Keys whose texts are about as long as each other, so that little is padded."""
    keys = sorted(texts, key=lambda key: (-len(texts[key]), key))
    return [keys[start : start + _BATCH] for start in range(0, len(keys), _BATCH)]


def _matrix(rows: list[Vectors], dimension: int) -> Vectors:
    return np.stack(rows) if rows else np.empty((0, dimension), dtype=np.float32)
