"""One file to its documents: opened, checked to be what was found, told apart, read."""

import hashlib
import json
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from stat import S_ISREG

from indexer.domain import DocumentSettings
from indexer.reading.kinds import KINDS, Kind, suffix_of
from indexer.reading.layout import Line, clean, to_document
from indexer.reading.markup import read_html, read_markdown
from indexer.reading.plaintext import read_text
from indexer.reading.walk import SourceFile
from indexer.records import Document, Rejected

_PARSERS = {"markdown": read_markdown, "html": read_html, "text": read_text}


@dataclass(frozen=True, slots=True)
class Reading:
    """What one file gave. `sha256` is of its bytes, "" where they could not be had."""

    source: SourceFile
    sha256: str
    documents: list[Document]
    rejected: list[Rejected]


def read_source(source: SourceFile, settings: DocumentSettings) -> Reading:
    """In this process and without its limits: for tests, and for what a worker does."""
    try:
        content = _content(source)
    except OSError as error:
        reason = f"cannot be read: {error.strerror or error}"
        return Reading(source, "", [], [Rejected(source.path, reason)])
    reading = Reading(source, hashlib.sha256(content).hexdigest(), [], [])
    for found in _read(source.path, content, reading.sha256):
        if isinstance(found, Document):
            reading.documents.append(found)
        else:
            reading.rejected.append(found)
    return reading


def _content(source: SourceFile) -> bytes:
    """Of a regular file at this very path: neither a link nor a pipe that was put there since."""
    descriptor = os.open(source.file, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    with open(descriptor, "rb") as file:
        state = os.fstat(descriptor)
        moved = os.readlink(f"/proc/self/fd/{descriptor}") != os.fspath(source.file)
        if moved or not S_ISREG(state.st_mode):
            raise OSError("is not the file any more that was found here")
        return file.read()


def _read(path: str, content: bytes, sha256: str) -> Iterator[Document | Rejected]:
    kind: Kind = KINDS[suffix_of(path)]
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        yield Rejected(path, f"is not text in UTF-8 (byte {error.start}); convert it")
        return
    if "\0" in text:
        yield Rejected(path, "is not text: it holds NUL bytes")
    elif kind == "jsonl":
        yield from _read_jsonl(path, text)
    else:
        yield _document(path, *_PARSERS[kind](text), sha256)


def _document(
    path: str, found: str, lines: list[Line], sha256: str, title: str = ""
) -> Document | Rejected:
    if not any(line.kind not in ("title", "heading") for line in lines):
        return Rejected(path, "holds no text below its headings")
    name = Path(path).stem.replace("-", " ").replace("_", " ")
    named = title or found or clean(name[:1].upper() + name[1:])
    if title:
        lines = [line._replace(kind="heading") if line.kind == "title" else line for line in lines]
    return to_document(path, named, lines, sha256)


def _read_jsonl(path: str, text: str) -> Iterator[Document | Rejected]:
    """One document per line: {"id", "title", "text"}; its path is `<file>/<id>`."""
    for number, line in enumerate(text.split("\n"), start=1):
        if not line.strip():
            continue
        try:
            row = _string_fields(line)
        except ValueError as error:
            yield Rejected(f"{path}:{number}", str(error))
            continue
        name = clean(row.get("id", str(number)))
        sha256 = hashlib.sha256(line.encode()).hexdigest()
        title = clean(row.get("title", ""))
        yield _document(f"{path}/{name}", *read_text(row["text"]), sha256, title)


def _string_fields(line: str) -> dict[str, str]:
    row = json.loads(line)
    if not isinstance(row, dict) or "text" not in row:
        raise ValueError('is not an object with a "text"')
    for key in ("id", "title", "text"):
        value = row.get(key, "")
        if not isinstance(value, str) or any("\ud800" <= sign <= "\udfff" for sign in value):
            raise ValueError(f'"{key}" is not a text')
    return {key: row[key] for key in ("id", "title", "text") if key in row}
