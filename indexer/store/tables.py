"""How records lie in SQLite, for the catalog and for snapshots alike: columns and rows."""

import json
from collections.abc import Iterable, Iterator
from typing import Any

import orjson

from indexer.records import Block, Chunk, Demonstration, Document, Place, Sentence

Row = tuple[Any, ...]

# What a snapshot holds; its chunks and demonstrations are numbered as its vectors are. A chunk's
# copies are the places of the same text that have no row of their own.
SCHEMA = """
CREATE TABLE documents(
    path TEXT PRIMARY KEY, id TEXT NOT NULL, title TEXT NOT NULL, text TEXT NOT NULL,
    sha256 TEXT NOT NULL, blocks TEXT NOT NULL, pages TEXT NOT NULL, fields TEXT NOT NULL);
CREATE TABLE chunks(
    row INTEGER PRIMARY KEY, id TEXT NOT NULL, document TEXT NOT NULL, start INTEGER NOT NULL,
    end INTEGER NOT NULL, headings TEXT NOT NULL, sentences TEXT NOT NULL);
CREATE TABLE copies(
    row INTEGER NOT NULL, document TEXT NOT NULL, start INTEGER NOT NULL, end INTEGER NOT NULL);
CREATE TABLE demonstrations(
    row INTEGER PRIMARY KEY, id TEXT NOT NULL UNIQUE, question TEXT NOT NULL, answer TEXT NOT NULL,
    "group" TEXT NOT NULL);
CREATE TABLE fields(document TEXT NOT NULL, name TEXT NOT NULL, text TEXT, number REAL);
"""
# Made when the tables are full: faster, and packed in order.
INDEXES = (
    "CREATE INDEX chunks_by_document ON chunks(document, start)",
    "CREATE INDEX copies_by_row ON copies(row)",
    "CREATE INDEX copies_by_document ON copies(document)",
    "CREATE INDEX fields_by_text ON fields(name, text, document)",
    "CREATE INDEX fields_by_number ON fields(name, number, document)",
)

DOCUMENT = "path, id, title, text, sha256, blocks, pages, fields"
CHUNK = "id, document, start, end, headings, sentences"
DEMONSTRATION = 'id, question, answer, "group"'
COPY = "row, document, start, end"
FIELD = "document, name, text, number"


def document_row(document: Document) -> Row:
    blocks = [(b.kind, b.start, b.end, b.level) for b in document.blocks]
    d = document
    fields = json.dumps(dict(d.fields), ensure_ascii=False, sort_keys=True)
    return d.path, d.id, d.title, d.text, d.sha256, _pack(blocks), _pack(d.pages), fields


def read_document(row: Row) -> Document:
    path, name, title, text, sha256, blocks, pages, fields = row
    known = tuple(Block(*block) for block in json.loads(blocks))
    return Document(
        name, path, title, text, sha256, known, tuple(json.loads(pages)), json.loads(fields)
    )


def chunk_row(chunk: Chunk) -> Row:
    spans = [(sentence.start, sentence.end) for sentence in chunk.sentences]
    return chunk.id, chunk.document, chunk.start, chunk.end, _pack(chunk.headings), _pack(spans)


def read_chunk(row: Row) -> Chunk:
    name, document, start, end, headings, sentences = row
    return Chunk(name, document, start, end, read_headings(headings), read_sentences(sentences))


def read_headings(packed: str) -> tuple[str, ...]:
    return tuple(orjson.loads(packed))


def read_sentences(packed: str) -> tuple[Sentence, ...]:
    return tuple(Sentence(start, end) for start, end in orjson.loads(packed))


def demonstration_row(demonstration: Demonstration) -> Row:
    d = demonstration
    return d.id, d.question, d.answer, d.group


def copy_row(row: int, place: Place) -> Row:
    return row, place.document, place.start, place.end


def field_rows(document: Row) -> Iterator[Row]:
    """Each value under `text`, and where it is a number or yes (1) or no (0) under `number` too."""
    path, fields = document[0], document[-1]
    for name, value in sorted(json.loads(fields).items()) if fields != "{}" else ():
        text = value if isinstance(value, str) else json.dumps(value)
        yield path, name, text, None if isinstance(value, str) else float(value)


def count_sentences(chunk: Row) -> int:
    """Each is a pair in brackets, within the brackets of them all."""
    return int(chunk[-1].count("[")) - 1


def _pack(value: Iterable[object]) -> str:
    return json.dumps(list(value), ensure_ascii=False, separators=(",", ":"))
