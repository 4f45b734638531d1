"""An example domain as its adapter will meet it: passages and demonstrations found by embedding."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from indexer.domain import Domain, load_domain
from indexer.job.runner import TextEmbedder
from indexer.reading.examples import read_demonstrations
from indexer.reading.sources import read_documents
from indexer.records import Demonstration, Document
from indexer.text.chunking import split, with_context

Vectors = NDArray[np.float32]
_HELD_OUT_EVERY = 5


class Searcher(TextEmbedder, Protocol):
    """What searching needs of indexer.embedding.embedder.Embedder."""

    def embed_passages(self, texts: Sequence[str]) -> Vectors: ...

    def embed_symmetric(self, texts: Sequence[str]) -> Vectors: ...

    def embed_queries(self, texts: Sequence[str]) -> Vectors: ...


@dataclass(frozen=True)
class Piece:
    """The sentences of one chunk; `held_out` where its document is only measured on."""

    document: str
    sentences: tuple[str, ...]
    held_out: bool


@dataclass(frozen=True)
class Found:
    """What is put before one question: passages best first, demonstrations most similar last."""

    pieces: list[Piece]
    demonstrations: list[Demonstration]


class Shelf:
    """One domain's chunks and demonstrations, searched as the service searches them."""

    def __init__(self, folder: Path, embedder: Searcher) -> None:
        self.domain: Domain = load_domain(folder)
        self.pieces, texts = _pieces(self.domain, embedder)
        self.demonstrations = read_demonstrations(self.domain)
        self._embedder = embedder
        self._passages = embedder.embed_passages(texts)
        self._solved = embedder.embed_symmetric([one.question for one in self.demonstrations])

    def find(self, questions: Sequence[str], shots: int) -> list[Found]:
        """Search for each question, passing over the demonstration that is the question itself."""
        asked = self._embedder.embed_queries(questions)
        prefixed = self._embedder.query_prefix
        alike = self._embedder.embed_symmetric(questions) if prefixed else asked
        return [
            Found(
                self._nearest_pieces(asked[row]), self._nearest_solved(question, alike[row], shots)
            )
            for row, question in enumerate(questions)
        ]

    def _nearest_pieces(self, vector: Vectors) -> list[Piece]:
        scores = self._passages @ vector
        wanted = self.domain.retrieval.passages
        floor = self.domain.retrieval.min_passage_score
        best = np.argsort(-scores, kind="stable")[:wanted]
        return [self.pieces[at] for at in best if scores[at] >= floor]

    def _nearest_solved(self, question: str, vector: Vectors, shots: int) -> list[Demonstration]:
        scores = self._solved @ vector
        floor = self.domain.retrieval.min_demonstration_score
        others = [
            self.demonstrations[at]
            for at in np.argsort(-scores, kind="stable")
            if scores[at] >= floor and self.demonstrations[at].question != question
        ]
        return others[:shots][::-1]


def _pieces(domain: Domain, embedder: Searcher) -> tuple[list[Piece], list[str]]:
    """Every chunk's sentences, and beside them the text it is found by."""
    pieces: list[Piece] = []
    texts: list[str] = []
    for document in read_documents(domain):
        if not isinstance(document, Document):
            continue
        held_out = _is_held_out(document.path)
        for chunk in split(document, domain.chunking, embedder.count_tokens, embedder.max_tokens):
            said = tuple(document.text[one.start : one.end] for one in chunk.sentences)
            pieces.append(Piece(document.path, said, held_out))
            text = document.text[chunk.start : chunk.end]
            texts.append(
                with_context(
                    document.title, chunk, text, embedder.count_tokens, embedder.max_tokens
                )
            )
    return pieces, texts


def _is_held_out(path: str) -> bool:
    return hashlib.sha256(path.encode()).digest()[0] % _HELD_OUT_EVERY == 0
