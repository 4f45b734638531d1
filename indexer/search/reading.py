"""Rows of a snapshot to passages: the text with its sentences, page, copies and neighbours.

All that a question found is read by one statement. Offsets always are the document's own.
"""

import json
from bisect import bisect_right
from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

from indexer.records import Passage, Place, Sentence
from indexer.search.eligible import Eligible
from indexer.store.snapshot import Snapshot
from indexer.store.tables import Row, read_headings, read_sentences
from indexer.text.sentences import split_sentences

# A neighbour further away than this is not one: what lies between was dropped as a duplicate.
_GAP = 400
# The text of each chunk, with what stands between the chunk before and it where that is near.
_CHUNKS = f"""
WITH wanted(row) AS (SELECT value FROM json_each(?)),
found AS (
    SELECT c.*, CASE WHEN c.start - p.end BETWEEN 0 AND {_GAP} THEN p.end
                     WHEN p.start <= c.start AND c.start < p.end THEN c.start END AS joint
    FROM chunks c LEFT JOIN chunks p
    ON p.row = c.row - 1 AND p.document = c.document AND p.row IN wanted
    WHERE c.row IN wanted)
SELECT f.row, f.id, f.document, d.title, f.headings, f.start, f.end, f.sentences, d.pages,
    f.joint, substr(d.text, ifnull(f.joint, f.start) + 1, f.end - ifnull(f.joint, f.start)),
    (SELECT json_group_array(json_array(k.document, k.start, k.end))
     FROM copies k WHERE k.row = f.row)
FROM found f JOIN documents d ON d.path = f.document
"""
_COPY = """
SELECT title, pages, substr(text, ?, ?) FROM documents WHERE path = ?
"""


@dataclass(frozen=True, slots=True)
class Piece:
    """A chunk as it is read; `text` begins at `joint` where that joins it to the one before."""

    row: int
    chunk: str
    document: str
    title: str
    headings: tuple[str, ...]
    start: int
    end: int
    sentences: tuple[Sentence, ...]
    pages: tuple[int, ...]
    joint: int | None
    text: str
    copies: tuple[Place, ...]

    @property
    def own_text(self) -> str:
        """Without what stands before it."""
        return self.text[self.start - (self.start if self.joint is None else self.joint) :]


@dataclass(frozen=True, slots=True)
class Found:
    """A row that was chosen, and its cosine to the question."""

    row: int
    cosine: float


def read_pieces(snapshot: Snapshot, rows: Collection[int], neighbours: int) -> dict[int, Piece]:
    """By row: these, and as many on either side as belong to the same document."""
    wanted = {row + shift for row in rows for shift in range(-neighbours, neighbours + 1)}
    found = snapshot.read(_CHUNKS, json.dumps(sorted(wanted)))
    return {row[0]: _piece(row) for row in found}


def read_passages(
    snapshot: Snapshot,
    hits: Sequence[Found],
    pieces: dict[int, Piece],
    neighbours: int,
    eligible: Eligible,
) -> list[tuple[Found, Passage]]:
    """In the order of `hits`; those whose texts overlap are one, in the place of the first."""
    pieces = _placed(snapshot, [hit.row for hit in hits], pieces, eligible)
    present = [hit for hit in hits if hit.row in pieces]
    runs = _runs([hit.row for hit in present], pieces, neighbours)
    passages: list[tuple[Found, Passage]] = []
    told: set[int] = set()
    for hit in present:
        if hit.row in told:
            continue
        low, high = runs[hit.row]
        together = [other for other in present if runs[other.row] == (low, high)]
        told.update(other.row for other in together)
        cosine = max(other.cosine for other in together)
        passages.append((hit, _stitched(pieces, hit.row, low, high, cosine)))
    return passages


def _piece(row: Row) -> Piece:
    number, name, document, title, headings, start, end, sentences, pages, joint, text, copies = row
    return Piece(
        row=number,
        chunk=name,
        document=document,
        title=title,
        headings=read_headings(headings),
        start=start,
        end=end,
        sentences=read_sentences(sentences),
        pages=() if pages == "[]" else tuple(json.loads(pages)),
        joint=joint,
        text=text,
        copies=() if copies == "[]" else tuple(Place(*place) for place in json.loads(copies)),
    )


def _runs(
    rows: Sequence[int], pieces: dict[int, Piece], neighbours: int
) -> dict[int, tuple[int, int]]:
    """For each row the first and last row of the run it becomes part of."""
    windows = sorted((*_window(row, pieces, neighbours), row) for row in rows)
    runs: dict[int, tuple[int, int]] = {}
    members: list[int] = []
    low, high = -1, -1
    for first, last, row in windows:
        if first > high:
            members, low = [], first
        high = max(high, last)
        members.append(row)
        runs.update(dict.fromkeys(members, (low, high)))
    return runs


def _window(row: int, pieces: dict[int, Piece], neighbours: int) -> tuple[int, int]:
    """How far the neighbours reach without a break."""
    low = high = row
    while row - low < neighbours and pieces[low].joint is not None and low - 1 in pieces:
        low -= 1
    while high - row < neighbours and high + 1 in pieces and pieces[high + 1].joint is not None:
        high += 1
    return low, high


def _stitched(pieces: dict[int, Piece], row: int, low: int, high: int, cosine: float) -> Passage:
    """One text from the first piece to the last; what it is called is the hit's."""
    hit, first = pieces[row], pieces[low]
    text, end = first.own_text, first.end
    for _, piece in pairwise(pieces[number] for number in range(low, high + 1)):
        assert piece.joint is not None
        text += piece.text[end - piece.joint :]
        end = max(end, piece.end)
    inside = {s for number in range(low, high + 1) for s in pieces[number].sentences}
    return Passage(
        chunk=hit.chunk,
        document=hit.document,
        title=hit.title,
        headings=hit.headings,
        start=first.start,
        text=text,
        sentences=tuple(sorted(inside, key=lambda sentence: (sentence.start, sentence.end))),
        score=cosine,
        page=bisect_right(hit.pages, first.start),
        copies=hit.copies,
    )


def _placed(
    snapshot: Snapshot, rows: Sequence[int], pieces: dict[int, Piece], eligible: Eligible
) -> dict[int, Piece]:
    """Each piece where the question may see it: a copy where its own document is not shown."""
    limited = eligible.allowed is not None or eligible.excluded is not None
    if not limited or not any(pieces[row].copies for row in rows if row in pieces):
        return pieces
    asked = {row: pieces[row] for row in rows if row in pieces}
    named = {piece.document for piece in asked.values()}
    named |= {place.document for piece in asked.values() for place in piece.copies}
    shown = eligible.shown(named)
    placed = dict(pieces)
    for row, piece in asked.items():
        copies = tuple(place for place in piece.copies if place.document in shown)
        if piece.document in shown:
            placed[row] = replace(piece, copies=copies)
            continue
        del placed[row]
        placed.pop(row + 1, None) if row + 1 not in asked else None
        if copies:
            placed[row] = _moved(snapshot, piece, copies[0], copies[1:])
    return placed


def _moved(snapshot: Snapshot, piece: Piece, place: Place, copies: tuple[Place, ...]) -> Piece:
    """The piece as it stands in another document; near-duplicates have sentences of their own."""
    length = place.end - place.start
    [(title, pages, text)] = snapshot.read(_COPY, place.start + 1, length, place.document)
    shift = place.start - piece.start
    sentences = tuple(Sentence(s.start + shift, s.end + shift) for s in piece.sentences)
    return replace(
        piece,
        document=place.document,
        title=title,
        headings=(),
        start=place.start,
        end=place.end,
        sentences=sentences if text == piece.own_text else _sentences(text, place.start),
        pages=tuple(json.loads(pages)),
        joint=None,
        text=text,
        copies=copies,
    )


def _sentences(text: str, start: int) -> tuple[Sentence, ...]:
    return tuple(Sentence(start + s.start, start + s.end) for s in split_sentences(text))
