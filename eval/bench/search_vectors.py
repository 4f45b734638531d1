"""Vectors to be searched: made up, like those of an embedding model, or real."""

import gzip
import json
import random
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from eval.running import ROOT
from indexer.domain import EmbedderSettings
from indexer.errors import BadInput
from indexer.records import Vectors

MEDQUAD = ROOT.parent / "shared" / "data" / "medquad" / "qa_pairs.jsonl.gz"
_BLOCK = 10_000
_WORDS = 60
_FEWEST_WORDS = 15
_SEED = 11


@dataclass(frozen=True, slots=True)
class VectorSet:
    """Unit vectors [n, dimension] and questions to them that are not among them."""

    name: str
    matrix: Vectors
    questions: Vectors


def synthetic(count: int, dimension: int, questions: int) -> VectorSet:
    """A mixture: 2 root(n) centres, half the variance between them and half within.

    The spread falls with the direction's number to the power -0.6, turned at random: as of an
    embedding model, most of it lies in a tenth of the directions. Questions are drawn alike.
    """
    draw = np.random.default_rng(_SEED)
    spread = np.arange(1, dimension + 1, dtype=np.float32) ** -0.6
    turn = np.linalg.qr(draw.standard_normal((dimension, dimension)))[0].astype(np.float32)
    directions = spread[:, None] * turn
    centres = draw.standard_normal((2 * int(count**0.5), dimension), dtype=np.float32)
    rows = np.empty((count + questions, dimension), dtype=np.float32)
    for start in range(0, len(rows), _BLOCK):
        part = rows[start : start + _BLOCK]
        mixed = centres[draw.integers(0, len(centres), len(part))]
        mixed = mixed + draw.standard_normal(part.shape, dtype=np.float32)
        part[:] = _unit(mixed @ directions)
    return VectorSet("synthetic", rows[:count], rows[count:])


def stored(path: Path, count: int, questions: int) -> VectorSet:
    """Of a .npy file [n, dimension]: some rows held out as questions, the others replicated."""
    try:
        rows = np.load(path, allow_pickle=False)
    except (OSError, EOFError, ValueError) as error:
        raise BadInput(f"{path} holds no vectors: {error}", "Give a .npy file by --vectors") from (
            error
        )
    if rows.ndim != 2 or len(rows) <= questions:
        raise BadInput(
            f"{path} holds an array of shape {rows.shape}",
            f"Give a matrix of more than {questions} vectors",
        )
    rows = _unit(np.random.default_rng(_SEED).permutation(rows).astype(np.float32))
    return VectorSet(path.name, replicated(rows[questions:], count), rows[:questions])


def embedded(passages: int, count: int, questions: int) -> VectorSet:
    """Passages of MedQuAD's answers, replicated, and MedQuAD's questions, by MiniLM."""
    from indexer.embedding.embedder import Embedder

    embedder = Embedder(EmbedderSettings())
    asked, texts = _medquad(passages)
    matrix = embedder.embed_passages(texts)
    return VectorSet(
        f"MiniLM of {passages:,} MedQuAD passages",
        replicated(matrix, count),
        embedder.embed_queries(asked[:questions]),
    )


def replicated(rows: Vectors, count: int) -> Vectors:
    """The rows, then copies of them, each moved in the direction from one row to another.

    The cosine of a copy and its original is about .7, and no two copies are alike.
    """
    result = np.empty((count, rows.shape[1]), dtype=np.float32)
    result[: len(rows)] = rows[:count]
    draw = np.random.default_rng(_SEED)
    for start in range(min(len(rows), count), count, _BLOCK):
        part = result[start : start + _BLOCK]
        kept, one, other = (rows[draw.integers(0, len(rows), len(part))] for _ in range(3))
        part[:] = _unit(kept + _unit(one - other))
    return result


def _medquad(passages: int) -> tuple[list[str], list[str]]:
    """Questions, and that many pieces of sixty words of other rows' answers."""
    with gzip.open(MEDQUAD, "rt", encoding="utf-8") as file:
        rows = [json.loads(line) for line in file]
    random.Random(_SEED).shuffle(rows)
    pieces = (piece for row in rows for piece in _pieces(row["answer"] or ""))
    texts = [piece for piece, _ in zip(pieces, range(passages), strict=False)]
    return [row["question"] for row in rows], texts


def _pieces(answer: str) -> Iterator[str]:
    words = answer.split()
    for start in range(0, len(words), _WORDS):
        if len(words) - start >= _FEWEST_WORDS:
            yield " ".join(words[start : start + _WORDS])


def _unit(rows: Vectors) -> Vectors:
    lengths = np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-9)
    unit: Vectors = (rows / lengths).astype(np.float32)
    return unit
