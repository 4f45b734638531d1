"""Printed pages to lines: paragraphs and headings, told by where and how big they stand."""

import itertools
import re
from collections import Counter
from collections.abc import Iterator
from typing import TypeAlias

from indexer.reading.fields import pdf_date, to_fields
from indexer.reading.layout import Extract, Line, clean
from indexer.reading.pdf import Printed
from indexer.reading.rules import Refused
from indexer.records import Value

_LARGER = 1.15  # than most of the text: a heading
_LONGEST_HEADING = 150
_NUMBER = re.compile(r"(?<!\d)\d{1,6}(?!\d)")  # no longer one is a page's
_LONGEST_EDGE = 300
_BULLET = re.compile(r"[•‣▪◦●■○➢–]\s+(?=\S)|[-*o]\s{2,}(?=\S)")  # noqa: RUF001
_BROKEN_WORD = ("\x02", "\ufffe", "\xad")
# Programs state these as titles, not people.
_NO_TITLE = re.compile(
    r"(?i)untitled|microsoft \w+ - |.*\.(?:docx?|pdf|indd|qxd|tex|dvi|pptx?|p65)$"
    r"|\W*(?:(?:anonymous|unspecified|unknown)\W*)?$"
)
Edges: TypeAlias = dict[tuple[int, int], float]
Pattern: TypeAlias = tuple[str, str, int]

_TEXTS = (("author", "Author"), ("subject", "Subject"), ("keywords", "Keywords"))
_DATES = (("created", "CreationDate"), ("modified", "ModDate"))


def to_extract(pages: list[list[Printed]], stated: dict[str, str]) -> Extract:
    """Refused: there is no text on any page."""
    pages = _without_furniture(pages)
    if not any(pages):
        raise Refused("holds no text: its pages are empty or pictures")
    usual = _usual_size(pages)
    lines: list[Line] = []
    starts: list[int] = []
    for page in pages:
        starts.append(len(lines))
        lines.extend(_blocks(page, usual))
    title = clean(stated.get("Title") or "")
    if _NO_TITLE.match(title):
        title = next((line.text for line in lines[:10] if line.kind == "heading"), "")
    return Extract(title, lines, _fields(stated), starts)


def _fields(stated: dict[str, str]) -> dict[str, Value]:
    texts = {name: stated.get(key) or "" for name, key in _TEXTS}
    texts = {name: text for name, text in texts.items() if not _NO_TITLE.match(text)}
    return to_fields({**texts, **{name: pdf_date(stated.get(key) or "") for name, key in _DATES}})


def _without_furniture(pages: list[list[Printed]]) -> list[list[Printed]]:
    """Without the first and last two lines of a page that most pages share, its number apart."""
    if len(pages) < 4:
        return pages
    edges = [
        [(line, _patterns(line.text, number)) for line in (*page[:2], *page[-2:])]
        for number, page in enumerate(pages)
    ]
    counts = Counter(key for edge in edges for key in set().union(*(keys for _, keys in edge)))
    usual = {key for key, count in counts.items() if count > len(pages) / 2}
    kept: list[list[Printed]] = []
    for page, edge in zip(pages, edges, strict=True):
        dropped = {id(line) for line, keys in edge if usual & keys}
        kept.append([line for line in page if id(line) not in dropped])
    return kept


def _patterns(text: str, page: int) -> set[Pattern]:
    """The line itself, and without each number that may be its page's: as far from `page`.

    Other numbers stay: what stands first or last on every page may be a row of a table.
    """
    found: set[Pattern] = {(text, "", 0)}
    if len(text) <= _LONGEST_EDGE:
        for match in _NUMBER.finditer(text):
            around = (text[: match.start()], text[match.end() :])
            found.add((*around, int(match.group()) - page))
    return found


def _usual_size(pages: list[list[Printed]]) -> float:
    """The size of the letter in the middle, were all of them sorted."""
    sizes: Counter[float] = Counter()
    for line in itertools.chain.from_iterable(pages):
        sizes[round(line.size, 1)] += len(line.text)
    half, seen = sizes.total() / 2, 0
    for size in sorted(sizes):
        seen += sizes[size]
        if seen >= half:
            return size
    return 0.0


def _blocks(page: list[Printed], usual: float) -> Iterator[Line]:
    edges = _right_edges(page)
    pitch = _pitch(page)
    for first, group in itertools.groupby(
        _runs(page, edges, pitch), key=lambda run: _heading_level(run, usual)
    ):
        for run in group:
            text = clean(_joined(run))
            if not text:
                continue
            bullet = _BULLET.match(run[0].text)
            if first:
                yield Line("heading", first, text)
            elif bullet:
                yield Line("item", 1, clean(_BULLET.sub("", text, count=1)) or text)
            else:
                yield Line("paragraph", 0, text)


def _runs(page: list[Printed], edges: Edges, pitch: float) -> Iterator[list[Printed]]:
    """Lines that belong together: a paragraph, an item, a heading."""
    run: list[Printed] = []
    for line in page:
        if run and _breaks(run[-1], line, edges, pitch):
            yield run
            run = []
        run.append(line)
    if run:
        yield run


def _breaks(before: Printed, line: Printed, edges: Edges, pitch: float) -> bool:
    fall, size = before.foot - line.bottom, max(before.size, line.size)
    if abs(fall) < 0.6 * size and line.left > before.left:  # side by side, or raised
        return False
    if abs(line.size - before.size) > 0.1 * size or _BULLET.match(line.text):
        return True
    if fall < 0:  # up again: the next column
        return before.text[-1:] in ".!?:"
    if fall > 1.4 * max(pitch, size):
        return True
    return _broken_on_purpose(before, line, edges)


def _broken_on_purpose(before: Printed, line: Printed, edges: Edges) -> bool:
    """The next word would have fitted behind the line before it."""
    first = line.text.split(maxsplit=1)[0]
    if first[0].islower() or before.text.endswith((",", *_BROKEN_WORD)):
        return False
    word = (line.right - line.left) / max(len(line.text), 1) * (len(first) + 1)
    return before.right + word < edges.get(_column(before), before.right)


def _column(line: Printed) -> tuple[int, int]:
    return round(line.left / 40), round(line.size)


def _right_edges(page: list[Printed]) -> Edges:
    """How far most lines reach that begin about as far left and are as large: their column."""
    found: dict[tuple[int, int], list[float]] = {}
    for line in page:
        place, size = _column(line)
        for near in (place - 1, place, place + 1):
            found.setdefault((near, size), []).append(line.right)
    return {column: sorted(rights)[len(rights) * 4 // 5] for column, rights in found.items()}


def _pitch(page: list[Printed]) -> float:
    """The usual distance from one line to the next below it."""
    falls = sorted(
        a.foot - b.bottom
        for a, b in itertools.pairwise(page)
        if 0.4 * a.size < a.foot - b.bottom < 2.2 * a.size and abs(a.size - b.size) < 0.1 * a.size
    )
    return falls[(len(falls) - 1) // 2] if falls else 0.0


def _heading_level(run: list[Printed], usual: float) -> int:
    """0: none. Of a heading, 1 to 3 by how much larger than usual it is."""
    size, length = run[0].size, sum(len(line.text) for line in run)
    if size < _LARGER * usual or length > _LONGEST_HEADING or not _has_letters(run):
        return 0
    return 1 if size >= 1.6 * usual else 2 if size >= 1.3 * usual else 3


def _has_letters(run: list[Printed]) -> bool:
    return any(sign.isalpha() for line in run for sign in line.text)


def _joined(run: list[Printed]) -> str:
    text = ""
    for line in run:
        if text.endswith(_BROKEN_WORD):
            text = text[:-1] + line.text.lstrip()
        else:
            text = f"{text} {line.text}" if text else line.text
    return text
