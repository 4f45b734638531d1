"""Small snapshots made without a job: documents of given lines, a chunk for each few of them."""

from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from indexer.index.rows import MatrixSource
from indexer.records import (
    Block,
    Chunk,
    Demonstration,
    Document,
    Place,
    Sentence,
    Value,
    Vectors,
    content_id,
)
from indexer.search.ranking import Question
from indexer.search.retriever import Retriever
from indexer.store.draft import SnapshotContent, write_files
from indexer.store.manifest import EmbedderMark
from indexer.store.snapshot import open_snapshot
from indexer.store.tables import chunk_row, document_row
from tests.indexer.hash_embedder import HashEmbedder

MARK = EmbedderMark(
    name="hash", dtype="fp32", fingerprint="hash/1", space="hash-space", dimension=32
)


def vector(text: str) -> Vectors:
    found: Vectors = HashEmbedder().embed_passages([text])[0]
    return found


def question(text: str) -> Question:
    return Question(text, vector(text))


def document(
    path: str,
    lines: Sequence[str],
    fields: Mapping[str, Value] | None = None,
    pages: tuple[int, ...] = (),
) -> Document:
    """One paragraph, of one sentence, for each line; called what its path is called."""
    text, blocks, at = "\n".join(lines), [], 0
    for line in lines:
        blocks.append(Block("paragraph", at, at + len(line)))
        at += len(line) + 1
    name = content_id(path, text)
    return Document(name, path, path, text, "0" * 64, tuple(blocks), pages, fields or {})


def chunks(of: Document, lines: int = 1, overlap: int = 0) -> list[Chunk]:
    """Of so many lines each, the last `overlap` of them the first of the next."""
    found = []
    for first in range(0, len(of.blocks), lines - overlap):
        taken = of.blocks[first : first + lines]
        spans = tuple(Sentence(block.start, block.end) for block in taken)
        name = content_id(of.path, str(spans[0].start))
        found.append(Chunk(name, of.path, spans[0].start, spans[-1].end, ("Part",), spans))
        if first + lines >= len(of.blocks):
            break
    return found


@dataclass
class Shelf:
    """What goes into a snapshot, with vectors by the words of each chunk."""

    documents: Sequence[Document]
    demonstrations: Sequence[Demonstration] = ()
    lines: int = 1
    overlap: int = 0
    copies: Sequence[tuple[int, Place]] = ()
    left_out: frozenset[int] = frozenset()  # chunks, by the number they would have

    def write(self, folder: Path) -> Path:
        ordered = sorted(self.documents, key=lambda one: one.path)
        texts = {one.path: one.text for one in ordered}
        every = [chunk for one in ordered for chunk in chunks(one, self.lines, self.overlap)]
        kept = [chunk for number, chunk in enumerate(every) if number not in self.left_out]
        matrix = _embedded([texts[chunk.document][chunk.start : chunk.end] for chunk in kept])
        solved = _embedded([one.question for one in self.demonstrations])
        folder.mkdir(parents=True)
        content = SnapshotContent(
            domain="kitchen",
            documents=map(document_row, ordered),
            chunks=map(chunk_row, kept),
            demonstrations=self.demonstrations,
            passage_vectors=MatrixSource(matrix),
            demonstration_vectors=MatrixSource(solved),
            embedder=MARK,
            copies=self.copies,
        )
        write_files(folder, content)
        return folder

    def open(self, folder: Path, hidden: Mapping[str, str] | None = None) -> "closing[Retriever]":
        """A retriever that closes with the block."""
        snapshot = open_snapshot(self.write(folder))
        return closing(Retriever(snapshot, lambda: hidden or {}))


def _embedded(texts: list[str]) -> Vectors:
    return HashEmbedder().embed_passages([*texts, "so that there is one"])[:-1]
