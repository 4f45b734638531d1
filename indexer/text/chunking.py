"""Documents to chunks: whole sentences below their headings, within a token budget."""

from bisect import bisect_left
from collections.abc import Iterator
from itertools import groupby

from indexer.domain import ChunkingSettings
from indexer.records import Block, Chunk, Document, Sentence, content_id
from indexer.text.counting import Count
from indexer.text.cutting import cut
from indexer.text.packing import Piece, Unit, pack, units
from indexer.text.sentences import split_sentences

# Part of what decides whether stored chunks are still good: raise it when splitting changes.
CHUNKER_VERSION = "2"

_CELLS = " | "


def split(
    document: Document, settings: ChunkingSettings, count: Count, limit: int | None = None
) -> list[Chunk]:
    """Pack whole sentences up to `settings.tokens`, as `count` counts them.

    A heading begins a new chunk and is its context, never its text; so is the first row of a table
    for the chunks that hold later rows. Lists, code and tables stay whole where they fit. A
    sentence above the budget stands alone; only one above `limit` (by default the budget itself)
    is cut. Give a WordCounter: this counts every sentence twice.
    """
    longest = max(settings.tokens, limit or 0)
    text = document.text

    def pieces(block: Block) -> Unit:
        return [
            Piece(piece, count(text[piece.start : piece.end]))
            for sentence in quotable(text, block)
            for piece in cut(text, sentence, count, longest)
        ]

    chunks: list[Chunk] = []
    for headings, blocks in _sections(document):
        tables = _table_heads(text, blocks, count, settings.tokens)
        for group in pack(units(text, blocks, pieces, settings.tokens), settings):
            for exact in _exact(text, group, count, settings.tokens):
                chunks.append(_chunk(document, headings, exact, tables))
    return chunks


def quotable(text: str, block: Block) -> list[Sentence]:
    """The sentences of a block: none in a heading, and a table's row or a line of code is one."""
    if block.kind in ("title", "heading"):
        return []
    if block.kind in ("row", "code"):
        return [Sentence(block.start, block.end)]
    return [
        Sentence(block.start + sentence.start, block.start + sentence.end)
        for sentence in split_sentences(text[block.start : block.end])
    ]


def _sections(document: Document) -> Iterator[tuple[tuple[str, ...], list[Block]]]:
    """The blocks between two headings, each run with the headings that stand above it."""
    open_headings: list[tuple[int, str]] = []
    for is_heading, run in groupby(document.blocks, key=lambda block: block.kind == "heading"):
        if not is_heading:
            yield tuple(text for _, text in open_headings), list(run)
            continue
        for block in run:
            text = document.text[block.start : block.end]
            above = [heading for heading in open_headings if heading[0] < block.level]
            open_headings = [*above, (block.level, text)]


def _table_heads(
    text: str, blocks: list[Block], count: Count, tokens: int
) -> list[tuple[int, int, str]]:
    """Of each table whose first row names the columns: where it begins and ends, and that row."""
    found: list[tuple[int, int, str]] = []
    for kind, run in groupby(blocks, key=lambda block: block.kind):
        rows = list(run)
        head = text[rows[0].start : rows[0].end]
        if kind == "row" and _names_columns(head, text[rows[-1].start : rows[-1].end]):
            if len(rows) > 2 and 3 * count(head) <= tokens:
                found.append((rows[0].end, rows[-1].end, head))
    return found


def _names_columns(head: str, row: str) -> bool:
    """Whether a first row's cells are names: as many as below, no numbers, no "name: value"."""
    cells = head.split(_CELLS)
    return len(cells) == len(row.split(_CELLS)) > 1 and not any(
        ": " in cell or cell[:1].isdigit() for cell in cells
    )


def _exact(text: str, group: Unit, count: Count, tokens: int) -> Iterator[Unit]:
    """The group; or its halves where a tokenizer makes more of them together than of each."""
    start, end = group[0].sentence.start, group[-1].sentence.end
    if len(group) == 1 or count(text[start:end]) <= tokens:
        yield group
        return
    half = len(group) // 2
    yield from _exact(text, group[:half], count, tokens)
    yield from _exact(text, group[half:], count, tokens)


def _chunk(
    document: Document,
    headings: tuple[str, ...],
    group: Unit,
    tables: list[tuple[int, int, str]],
) -> Chunk:
    start, end = group[0].sentence.start, group[-1].sentence.end
    context = (*headings, *_above(tables, start))
    text = document.text[start:end]
    name = content_id(document.path, str(start), document.title, *context, text)
    sentences = tuple(piece.sentence for piece in group)
    return Chunk(name, document.path, start, end, context, sentences)


def _above(tables: list[tuple[int, int, str]], start: int) -> list[str]:
    """The first row of the table in which a later row begins here: a section may hold thousands."""
    last = bisect_left(tables, (start,)) - 1
    return [head for _, stop, head in tables[last : last + 1] if start < stop] if last >= 0 else []


def with_context(title: str, chunk: Chunk, text: str, count: Count, room: int) -> str:
    """What is embedded for a chunk: its title and headings, as far as they fit, then its text."""
    context = [title, *chunk.headings]
    while context:
        whole = f"{' > '.join(context)}\n{text}"
        if count(whole) <= room:
            return whole
        context.pop(0)
    return text
