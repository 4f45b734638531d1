"""An embedder without a model: a text's words decide its vector, the same in every process."""

import hashlib
from collections.abc import Sequence

import numpy as np

from indexer.records import Vectors


class HashEmbedder:
    """Texts that share words are near each other; counts the texts that it embeds."""

    dtype = "fp32"
    space = "hash-space"
    dimension = 32
    max_tokens = 128

    def __init__(self, fingerprint: str = "hash/1") -> None:
        self.fingerprint = fingerprint
        self.embedded = 0

    def count_tokens(self, text: str) -> int:
        return len(text.split())

    def embed_passages(self, texts: Sequence[str]) -> Vectors:
        self.embedded += len(texts)
        return np.stack([self._vector(text) for text in texts])

    embed_symmetric = embed_passages
    embed_queries = embed_passages

    def _vector(self, text: str) -> Vectors:
        total = np.full(self.dimension, 1e-3)
        for word in text.lower().split():
            seed = int.from_bytes(hashlib.sha256(word.encode()).digest()[:8], "big")
            total += np.random.default_rng(seed).standard_normal(self.dimension)
        unit: Vectors = (total / np.linalg.norm(total)).astype(np.float32)
        return unit
