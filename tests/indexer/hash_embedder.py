"""An embedder without a model: a text's words decide its vector, the same in every process."""

import hashlib
from collections.abc import Iterator, Sequence
from typing import Literal

import numpy as np

from indexer.records import Vectors

BATCH = 4


class HashEmbedder:
    """Texts that share words are near each other; counts the texts that it embeds."""

    dtype = "fp32"
    space = "hash-space"
    dimension = 32
    max_tokens = 128
    pooling = "words"
    query_prefix = ""
    passage_prefix = ""
    revision = ""

    def __init__(self, fingerprint: str = "hash/1") -> None:
        self.fingerprint = fingerprint
        self.libraries = {"tokenizers": "1"}
        self.embedded = 0

    def count_tokens(self, text: str) -> int:
        return len(text.split())

    def embed_passages(self, texts: Sequence[str]) -> Vectors:
        self.embedded += len(texts)
        return np.stack([self._vector(text) for text in texts])

    embed_symmetric = embed_passages
    embed_queries = embed_passages

    def stream(
        self, texts: Sequence[str], role: Literal["passage", "question", "query"]
    ) -> Iterator[tuple[list[int], Vectors]]:
        for start in range(0, len(texts), BATCH):
            rows = list(range(start, min(start + BATCH, len(texts))))
            yield rows, self.embed_passages([texts[row] for row in rows])

    def probes(self) -> list[tuple[str, Vectors]]:
        return [("probe", self._vector("probe"))]

    def _vector(self, text: str) -> Vectors:
        total = np.full(self.dimension, 1e-3)
        for word in text.lower().split():
            seed = int.from_bytes(hashlib.sha256(word.encode()).digest()[:8], "big")
            total += np.random.default_rng(seed).standard_normal(self.dimension)
        unit: Vectors = (total / np.linalg.norm(total)).astype(np.float32)
        return unit
