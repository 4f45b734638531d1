"""Rows of a snapshot to passages: the text with its sentences, page, copies and neighbours.

One statement reads all that a question found, and each document that it found gives its texts.
Offsets always are the document's own.
"""

import json
from bisect import bisect_right
from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace

from indexer.records import Passage, Place, Sentence
from indexer.search.eligible import Eligible
from indexer.search.texts import Texts
from indexer.store.snapshot import Snapshot
from indexer.store.tables import Row, read_headings, read_sentences
from indexer.text.sentences import split_sentences

# A neighbour further away than this is not one: what lies between was dropped as a duplicate.
_GAP = 400
# Each chunk, and whether it joins the one before: overlaps it, or comes soon after.
_CHUNKS = f"""
WITH wanted(row) AS (SELECT value FROM json_each(?))
SELECT c.row, c.id, c.document, d.rowid, d.title, c.headings, c.start, c.end, c.sentences, d.pages,
    p.row IS NOT NULL AND p.start <= c.start AND c.start - p.end <= {_GAP},
    (SELECT json_group_array(json_array(k.document, k.start, k.end))
     FROM copies k WHERE k.row = c.row)
FROM chunks c JOIN documents d ON d.path = c.document
LEFT JOIN chunks p ON p.row = c.row - 1 AND p.document = c.document
WHERE c.row IN wanted
"""
_PLACE = "SELECT rowid, title, pages FROM documents WHERE path = ?"


@dataclass(frozen=True, slots=True)
class Piece:
    """A chunk as it is read, without its text; `joined`: it goes on where the row before ends."""

    row: int
    chunk: str
    document: str
    number: int  # the document's, in records.db
    title: str
    headings: tuple[str, ...]
    start: int
    end: int
    sentences: tuple[Sentence, ...]
    pages: tuple[int, ...]
    joined: bool
    copies: tuple[Place, ...]


@dataclass(frozen=True, slots=True)
class Found:
    """A row that was chosen, and its cosine to the question."""

    row: int
    cosine: float


@dataclass(frozen=True, slots=True)
class Run:
    """Rows [low, high] that become one passage: in the place and by the name of `hit`."""

    hit: Found
    low: int
    high: int
    cosine: float


class Reader:
    """Reads one snapshot, from any number of threads at once."""

    def __init__(self, snapshot: Snapshot) -> None:
        self._snapshot = snapshot
        self._texts = Texts(snapshot)

    def pieces(self, rows: Collection[int], neighbours: int) -> dict[int, Piece]:
        """By row: these, and as many on either side as belong to the same document."""
        around = range(-neighbours, neighbours + 1)
        wanted = sorted({row + shift for row in rows for shift in around})
        return {row[0]: _piece(row) for row in self._snapshot.read(_CHUNKS, json.dumps(wanted))}

    def texts(self, spans: Sequence[tuple[int, int, int]]) -> list[str]:
        """Of documents, by their number, the text from start to end."""
        by_document: dict[int, list[int]] = {}
        for place, (document, _, _) in enumerate(spans):
            by_document.setdefault(document, []).append(place)
        found = [""] * len(spans)
        for document, places in by_document.items():
            texts = self._texts.read(document, [spans[place][1:] for place in places])
            for place, text in zip(places, texts, strict=True):
                found[place] = text
        return found

    def passages(
        self, hits: Sequence[Found], pieces: dict[int, Piece], neighbours: int, eligible: Eligible
    ) -> list[tuple[Found, Passage]]:
        """In the order of `hits`; those whose texts overlap are one, in the place of the first."""
        pieces = self._placed([hit.row for hit in hits], pieces, eligible)
        runs = _runs([hit for hit in hits if hit.row in pieces], pieces, neighbours)
        spans = [(pieces[run.hit.row].number, *_span(run, pieces)) for run in runs]
        texts = self.texts(spans)
        return [
            (run.hit, _passage(run, pieces, text)) for run, text in zip(runs, texts, strict=True)
        ]

    def _placed(
        self, rows: Sequence[int], pieces: dict[int, Piece], eligible: Eligible
    ) -> dict[int, Piece]:
        """Each piece where the question may see it: a copy where its document is not shown."""
        limited = eligible.allowed is not None or eligible.excluded is not None
        asked = {row: pieces[row] for row in rows if row in pieces}
        if not limited or not any(piece.copies for piece in asked.values()):
            return pieces
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
            if row + 1 not in asked:
                placed.pop(row + 1, None)  # it joined what is not shown
            if copies:
                placed[row] = self._moved(piece, copies[0], copies[1:])
        return placed

    def _moved(self, piece: Piece, place: Place, copies: tuple[Place, ...]) -> Piece:
        """As it stands in another document; a near-duplicate has sentences of its own."""
        [(number, title, pages)] = self._snapshot.read(_PLACE, place.document)
        here = (number, place.start, place.end)
        text, before = self.texts([here, (piece.number, piece.start, piece.end)])
        shift = place.start - piece.start
        spans = split_sentences(text) if text != before else piece.sentences
        shift = place.start if text != before else shift
        return replace(
            piece,
            document=place.document,
            number=number,
            title=title,
            headings=(),
            start=place.start,
            end=place.end,
            sentences=tuple(Sentence(s.start + shift, s.end + shift) for s in spans),
            pages=tuple(json.loads(pages)),
            joined=False,
            copies=copies,
        )


def _piece(row: Row) -> Piece:
    (number, name, path, document, title, headings, start, end, spans, pages, joined, copies) = row
    return Piece(
        row=number,
        chunk=name,
        document=path,
        number=document,
        title=title,
        headings=read_headings(headings),
        start=start,
        end=end,
        sentences=read_sentences(spans),
        pages=() if pages == "[]" else tuple(json.loads(pages)),
        joined=bool(joined),
        copies=() if copies == "[]" else tuple(Place(*place) for place in json.loads(copies)),
    )


def _runs(hits: Sequence[Found], pieces: dict[int, Piece], neighbours: int) -> list[Run]:
    """In the order of their best hits."""
    rank = {hit.row: place for place, hit in enumerate(hits)}
    joint: list[list[tuple[int, int, Found]]] = []
    reached = -1
    windows = [(*_window(hit.row, pieces, neighbours), hit) for hit in hits]
    for window in sorted(windows, key=lambda window: window[:2]):
        if window[0] > reached:
            joint.append([])
        joint[-1].append(window)
        reached = max(reached, window[1])
    runs = [
        Run(
            min((hit for _, _, hit in group), key=lambda hit: rank[hit.row]),
            group[0][0],
            max(high for _, high, _ in group),
            max(hit.cosine for _, _, hit in group),
        )
        for group in joint
    ]
    return sorted(runs, key=lambda run: rank[run.hit.row])


def _window(row: int, pieces: dict[int, Piece], neighbours: int) -> tuple[int, int]:
    """How far the neighbours reach without a break."""
    low = high = row
    while row - low < neighbours and pieces[low].joined and low - 1 in pieces:
        low -= 1
    while high - row < neighbours and high + 1 in pieces and pieces[high + 1].joined:
        high += 1
    return low, high


def _span(run: Run, pieces: dict[int, Piece]) -> tuple[int, int]:
    return pieces[run.low].start, max(pieces[row].end for row in range(run.low, run.high + 1))


def _passage(run: Run, pieces: dict[int, Piece], text: str) -> Passage:
    """From the first row to the last; what it is called is the hit's."""
    hit, start = pieces[run.hit.row], pieces[run.low].start
    inside = {s for row in range(run.low, run.high + 1) for s in pieces[row].sentences}
    return Passage(
        chunk=hit.chunk,
        document=hit.document,
        title=hit.title,
        headings=hit.headings,
        start=start,
        text=text,
        sentences=tuple(sorted(inside, key=lambda sentence: (sentence.start, sentence.end))),
        score=run.cosine,
        page=bisect_right(hit.pages, start),
        copies=hit.copies,
    )
