"""Plain text to clean lines: paragraphs, list items and headings, as people type them."""

import itertools
import re
from collections.abc import Iterator

from indexer.reading.layout import Extract, Line, clean

_RULE = re.compile(r"\s*([-=*_~#])\1{2,}\s*")
_BULLET = re.compile(r"\s*(?:[-*•‣–]|\d{1,3}[.)]|[a-z][.)]|\([a-z0-9]{1,3}\))\s+(?=\S)")  # noqa: RUF001
_NUMBERED = re.compile(r"\d+(?:\.\d+)*[.)]?\s+\S")
# A run of blanks is tried from its start only, not again from each blank in it.
_LEADER = re.compile(r"(?:(?<!\s)\s+)?(?:\.{4,}|\t)\s*")
_PAIR = re.compile(r"[A-Z][\w /-]{0,30}: \S")
_HEADING_WORDS = 12
_LONGEST_HEADING = 150  # characters: twelve words may be as many keys or addresses
_TELLING = 40  # lines, of a sign each at least: a piece's kind shows in its first 36 signs
_SLACK = 0.8
_WIDEST = 120  # nobody breaks lines to fit more than this


def read_text(text: str) -> Extract:
    """Title ("" when the text does not begin with one) and lines."""
    groups = list(_groups(text))
    width = _width(text)
    lines: list[Line] = []
    for index, group in enumerate(groups):
        pieces = _unwrap(group, width)
        if not lines and _is_heading(pieces[0]):
            lines.append(Line("title", 1, clean(pieces.pop(0))))
        elif len(pieces) == 1 and index + 1 < len(groups) and _is_heading(pieces[0]):
            piece = clean(pieces.pop())
            lines.append(Line("heading", 2 if piece.isupper() else 3, piece))
        elif len(pieces) > 1 and _is_heading(pieces[0]) and pieces[1][-1] in ".!?":
            lines.append(Line("heading", 4, clean(pieces.pop(0))))
        lines.extend(_body(pieces))
    title = lines[0].text if lines and lines[0].kind == "title" else ""
    return Extract(title, lines)


def _groups(text: str) -> Iterator[list[str]]:
    """Runs of lines between blank ones; a ruled line ends a run and is not part of it."""
    group: list[str] = []
    for line in [*text.splitlines(), ""]:
        if clean(line) and not _RULE.fullmatch(line):
            group.append(line.rstrip())
        elif group:
            yield group
            group = []


def _width(text: str) -> int:
    """How far the lines reach; one line in twenty may be longer without counting."""
    lengths = sorted(len(line.rstrip()) for line in text.splitlines() if line.strip())
    return lengths[-1 - len(lengths) // 20] if lengths else 0


def _unwrap(group: list[str], width: int) -> list[str]:
    """Join lines that were broken to fit a width; keep those that were broken on purpose."""
    pieces = [[group[0]]]
    head = group[0]  # the beginning of the last piece: the whole would be copied line by line
    for previous, line in itertools.pairwise(group):
        if (
            _starts_item(head, previous, line)
            or _continues_pairs(head, line)
            or _broken_on_purpose(previous, line, width)
        ):
            pieces.append([line])
            head = line
        else:
            pieces[-1].append(line.strip())
            if len(pieces[-1]) <= _TELLING:
                head += " " + line.strip()
    return [_LEADER.sub(" | ", " ".join(piece).strip()) for piece in pieces]


def _starts_item(piece: str, previous: str, line: str) -> bool:
    # A wrapped paragraph may have a line that begins with "12. ": only a list continues a list.
    return bool(_BULLET.match(line)) and (bool(_BULLET.match(piece)) or previous.endswith(":"))


def _continues_pairs(piece: str, line: str) -> bool:
    return bool(_PAIR.match(line)) and bool(_PAIR.match(piece))


def _broken_on_purpose(previous: str, line: str, width: int) -> bool:
    """Text broken by a width leaves no room for the next word; text broken by a person does."""
    first = line.split()[0]
    fits = len(previous) + 1 + len(first) <= _SLACK * width or len(previous) > _WIDEST
    return fits and not first[0].islower() and not previous.endswith(",")


def _is_heading(piece: str) -> bool:
    if len(piece) > _LONGEST_HEADING or len(piece.split()) > _HEADING_WORDS:
        return False
    if piece[-1] in ".!?:;,":
        return False
    if _BULLET.match(piece) and not _NUMBERED.match(piece):
        return False
    if " | " in piece or (_PAIR.match(piece) and not piece.isupper()):
        return False
    return piece[0].isupper() or bool(_NUMBERED.match(piece))


def _body(pieces: list[str]) -> Iterator[Line]:
    for piece in pieces:
        bullet = _BULLET.match(piece)
        text = clean(piece[bullet.end() :] if bullet else piece)
        if not text:  # nothing behind its bullet but what is invisible
            continue
        if bullet:
            yield Line("item", 1, text)
        else:
            yield Line("row" if " | " in text else "paragraph", 0, text)
