"""What is stored and looked up. Plain values: no files, no vectors, no behaviour to speak of.

The invariant everything else stands on: a document's `text` is clean plain text with one block
per line and inner whitespace collapsed, so `text[sentence.start:sentence.end]` is the quote.
"""

import hashlib
from bisect import bisect_right
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

Vectors: TypeAlias = NDArray[np.float32]
# A metadata field's value; dates are ISO 8601 text, so that they compare as they should.
Value: TypeAlias = str | int | float | bool
Fields: TypeAlias = Mapping[str, Value]
BlockKind = Literal["title", "heading", "paragraph", "item", "row", "code"]


def content_id(*parts: str) -> str:
    """16 hex digits that name these parts, whose boundaries count."""
    digest = hashlib.sha256()
    for part in parts:
        encoded = part.encode()
        digest.update(len(encoded).to_bytes(8, "big") + encoded)
    return digest.hexdigest()[:16]


@dataclass(frozen=True, slots=True)
class Block:
    """One line of a document and the part it plays; `level` is a heading's or a list's depth."""

    kind: BlockKind
    start: int
    end: int
    level: int = 0


@dataclass(frozen=True, slots=True)
class Document:
    """A source, read: known by its posix `path`; `id` names this very content at this path.

    `pages` holds where each page begins in `text` (empty where there are none); `fields` the
    metadata that the source states about itself: front matter, columns, properties.
    """

    id: str
    path: str
    title: str
    text: str
    sha256: str
    blocks: tuple[Block, ...]
    pages: tuple[int, ...] = ()
    fields: Fields = field(default_factory=dict)

    def page(self, offset: int) -> int:
        """The page, from 1, that holds this place of the text; 0 where there are no pages."""
        return bisect_right(self.pages, offset)


@dataclass(frozen=True, slots=True)
class Rejected:
    """A source that could not be read, and why; the job goes on without it."""

    path: str
    reason: str


@dataclass(frozen=True, slots=True)
class Sentence:
    """`[start, end)` in the document's text, never across a line."""

    start: int
    end: int


@dataclass(frozen=True, slots=True)
class Chunk:
    """A stored piece of the document at path `document`: whole sentences below `headings`."""

    id: str
    document: str
    start: int
    end: int
    headings: tuple[str, ...]
    sentences: tuple[Sentence, ...]


@dataclass(frozen=True, slots=True)
class Place:
    """`[start, end)` in the text of the document at path `document`."""

    document: str
    start: int
    end: int


@dataclass(frozen=True, slots=True)
class Passage:
    """A chunk found for a question. `sentences` are offsets into the document, as in Chunk.

    `score` is the cosine to the question; the order of several passages is the retrieval mode's.
    `page` is 0 where the document has none; `copies` are the places that hold the same text.
    """

    chunk: str
    document: str
    title: str
    headings: tuple[str, ...]
    start: int
    text: str
    sentences: tuple[Sentence, ...]
    score: float
    page: int = 0
    copies: tuple[Place, ...] = ()

    def sentence_texts(self) -> tuple[str, ...]:
        """The quotes, in order."""
        shift = self.start
        return tuple(self.text[s.start - shift : s.end - shift] for s in self.sentences)


@dataclass(frozen=True, slots=True)
class Demonstration:
    """A solved example; `group` joins those that must not be split between train and test."""

    id: str
    question: str
    answer: str
    group: str = ""
    score: float = 0.0
