"""Vectors as they come from an embedding model: in clusters, in fewer directions than numbers."""

import numpy as np

from indexer.records import Vectors


def unit_rows(count: int, dimension: int = 16, seed: int = 0) -> Vectors:
    """Anywhere on the sphere."""
    rows = np.random.default_rng(seed).standard_normal((count, dimension)).astype(np.float32)
    unit: Vectors = rows / np.linalg.norm(rows, axis=1, keepdims=True)
    return unit


def clustered_rows(count: int, dimension: int = 32, seed: int = 0) -> Vectors:
    """Around a centre for each thirty; the same centres for every seed."""
    centres = np.random.default_rng(7).standard_normal((max(1, count // 30), dimension))
    draw = np.random.default_rng(seed)
    rows = centres[draw.integers(0, len(centres), count)] + draw.standard_normal((count, dimension))
    rows *= np.arange(1, dimension + 1) ** -0.5
    unit: Vectors = (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)
    return unit
