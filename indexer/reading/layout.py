"""Lines of clean text, and the document that they make together."""

import json
import re
import unicodedata
from dataclasses import dataclass, field, replace
from pathlib import PurePosixPath
from typing import NamedTuple

from indexer.records import Block, BlockKind, Document, Value, content_id

# Control and format characters that carry no meaning in a quote (a soft hyphen, a byte order
# mark), halves of characters, and what a decoder or a PDF puts where it knew no character. What
# turns the direction of writing, and tags, can hide words from a reader which a model still sees.
# U+200C and U+200D stay: scripts and emoji are written with them.
_INVISIBLE = re.compile(
    "[\x00-\x08\x0e-\x1b\x7f-\x84\x86-\x9f\xad\u061c\u200b\u200e\u200f\u202a-\u202e\u2060-\u206f"
    "\ufeff\ufffe\uffff\ud800-\udfff\U000e0000-\U000e007f]"
)
# Control characters, ends of lines, halves of characters, and what turns the direction of writing:
# with these a name could look like another. Any blank, and what joins letters, may stand in one.
_NOT_IN_NAMES = re.compile(
    "[\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]"
)
# Every chunk repeats the title and headings above it: what is longer is text.
LONGEST_TITLE = 300


class Line(NamedTuple):
    """One block of a source before it has a place in the document's text."""

    kind: BlockKind
    level: int
    text: str


@dataclass(slots=True)
class Extract:
    """What a reader found: one document, before it has a path.

    `key` is the document's name within its file ("" where the file is the document); `pages` the
    number of lines before each page; `source` the bytes that are this document's own, if not all.
    """

    title: str
    lines: list[Line]
    fields: dict[str, Value] = field(default_factory=dict)
    pages: list[int] = field(default_factory=list)
    key: str = ""
    source: bytes | None = None


def clean(text: str) -> str:
    """One line: composed characters, nothing invisible, runs of white space made one blank."""
    if not text.isascii():
        text = unicodedata.normalize("NFC", text)
    return " ".join(_INVISIBLE.sub("", text).split())


def is_name(path: str) -> bool:
    """Whether a path can be shown and written in a line."""
    return _NOT_IN_NAMES.search(path) is None


def shortened(found: Extract) -> Extract:
    """Titles and headings that are too long made paragraphs; a title so long is ""."""
    lines = [
        Line("paragraph", 0, line.text) if len(line.text) > LONGEST_TITLE and _heads(line) else line
        for line in found.lines
    ]
    if len(found.title) <= LONGEST_TITLE or not lines:
        return replace(found, lines=lines)
    pages = found.pages
    if all(line.text != found.title for line in lines):  # nothing of it is lost
        lines.insert(0, Line("paragraph", 0, found.title))
        pages = [before and before + 1 for before in pages]
    return replace(found, title="", lines=[demoted(line) for line in lines], pages=pages)


def _heads(line: Line) -> bool:
    return line.kind in ("title", "heading")


def demoted(line: Line) -> Line:
    """A title that is not the document's is a heading."""
    return line._replace(kind="heading") if line.kind == "title" else line


def to_document(
    path: str,
    title: str,
    lines: list[Line],
    sha256: str,
    fields: dict[str, Value] | None = None,
    pages: list[int] | None = None,
) -> Document:
    """Join the lines (each clean and not empty); a title that no line holds is put before them.

    `pages` holds the number of lines before each page.
    """
    content = lines
    if not any(line.kind == "title" for line in content):
        content = _with_title(content, title)
    shift = len(content) - len(lines)
    blocks: list[Block] = []
    position = 0
    for kind, level, text in content:
        blocks.append(Block(kind, position, position + len(text), level))
        position += len(text) + 1
    text = "\n".join(line.text for line in content)
    starts = _page_starts(blocks, len(text), shift, pages or [])
    stated = fields or {}
    extra = [json.dumps([stated, starts], sort_keys=True)] if stated or starts else []
    name = content_id(path, title, text, *extra)
    return Document(name, path, title, text, sha256, tuple(blocks), starts, stated)


def _page_starts(blocks: list[Block], end: int, shift: int, pages: list[int]) -> tuple[int, ...]:
    """Offsets; the first page holds the title, an empty page begins where the next one does."""
    starts = [0 if not before else before + shift for before in pages]
    return tuple(blocks[line].start if line < len(blocks) else end for line in starts)


def _with_title(lines: list[Line], title: str) -> list[Line]:
    for index, line in enumerate(lines):
        stands = line.level <= 1 or index == 0
        if line.kind == "heading" and stands and line.text == title:
            return [*lines[:index], Line("title", 1, title), *lines[index + 1 :]]
    return [Line("title", 1, title), *lines]


def named_after(path: str) -> str:
    """A title for a document that has none: its file's name, as words."""
    name = PurePosixPath(path).stem.replace("-", " ").replace("_", " ")
    return clean(name[:1].upper() + name[1:])[:LONGEST_TITLE].rstrip() or "Untitled"
