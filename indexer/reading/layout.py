"""Lines of clean text, and the document that they make together."""

import re
import unicodedata
from collections.abc import Iterable
from typing import NamedTuple

from indexer.records import Block, BlockKind, Document, content_id

# Control and format characters that carry no meaning in a quote (a soft hyphen, a byte order mark).
_INVISIBLE = re.compile("[\x00-\x08\x0e-\x1b\x7f-\x84\x86-\x9f\xad\u200b\u2060\ufeff]")


class Line(NamedTuple):
    """One block of a source before it has a place in the document's text."""

    kind: BlockKind
    level: int
    text: str


def clean(text: str) -> str:
    """One line: composed characters, nothing invisible, runs of white space made one blank."""
    return " ".join(_INVISIBLE.sub("", unicodedata.normalize("NFC", text)).split())


def to_document(path: str, title: str, lines: Iterable[Line], sha256: str) -> Document:
    """Join the lines (each clean and not empty); a title that no line holds is put before them."""
    content = list(lines)
    if not any(line.kind == "title" for line in content):
        content = _with_title(content, title)
    blocks: list[Block] = []
    position = 0
    for kind, level, text in content:
        blocks.append(Block(kind, position, position + len(text), level))
        position += len(text) + 1
    text = "\n".join(line.text for line in content)
    return Document(content_id(path, title, text), path, title, text, sha256, tuple(blocks))


def _with_title(lines: list[Line], title: str) -> list[Line]:
    for index, line in enumerate(lines):
        if line.kind == "heading" and line.level <= 1 and line.text == title:
            return [*lines[:index], Line("title", 1, title), *lines[index + 1 :]]
    return [Line("title", 1, title), *lines]
