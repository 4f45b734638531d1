"""Documents to chunks: whole sentences below their headings, within a token budget."""

from collections.abc import Callable, Iterator
from itertools import groupby

from indexer.domain import ChunkingSettings
from indexer.records import Block, Chunk, Document, Sentence, content_id
from indexer.text.sentences import split_sentences

# Part of what decides whether stored chunks are still good: raise it when splitting changes.
CHUNKER_VERSION = "1"

Count = Callable[[str], int]


def split(
    document: Document, settings: ChunkingSettings, count: Count, limit: int | None = None
) -> list[Chunk]:
    """Pack whole sentences up to `settings.tokens`, as `count` counts them.

    A heading begins a new chunk and is its context, never its text. A sentence above the budget
    stands alone; only one above `limit` (by default the budget itself) is cut, between words.
    """
    longest = max(settings.tokens, limit or 0)
    chunks: list[Chunk] = []
    for headings, blocks in _sections(document):
        sentences = [
            piece
            for block in blocks
            for sentence in quotable(document.text, block)
            for piece in _within(document.text, sentence, count, longest)
        ]
        for group in _pack(document.text, sentences, settings, count):
            chunks.append(_chunk(document, headings, group))
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


def _within(text: str, sentence: Sentence, count: Count, longest: int) -> list[Sentence]:
    """The sentence itself, or the fewest pieces of at most `longest` tokens."""
    pieces: list[Sentence] = []
    start = sentence.start
    while count(text[start : sentence.end]) > longest:
        end = _cut(text, start, sentence.end, count, longest)
        pieces.append(Sentence(start, end))
        start = end + (text[end] == " ")
    return [*pieces, Sentence(start, sentence.end)]


def _cut(text: str, start: int, end: int, count: Count, longest: int) -> int:
    """The furthest place that fits, before a blank if there is one; always one character on."""
    fits, too_far = start + 1, end
    while too_far - fits > 1:
        middle = (fits + too_far) // 2
        if count(text[start:middle]) <= longest:
            fits = middle
        else:
            too_far = middle
    if text[fits] == " ":
        return fits
    blank = text.rfind(" ", start + 1, fits)
    return blank if blank > start else fits


def _pack(
    text: str, sentences: list[Sentence], settings: ChunkingSettings, count: Count
) -> Iterator[list[Sentence]]:
    group: list[Sentence] = []
    sizes: list[int] = []
    for sentence in sentences:
        size = count(text[sentence.start : sentence.end])
        if group and sum(sizes) + size > settings.tokens:
            yield group
            kept = _overlap(sizes, size, settings)
            group, sizes = group[len(group) - kept :], sizes[len(sizes) - kept :]
        group.append(sentence)
        sizes.append(size)
    if group:
        yield group


def _overlap(sizes: list[int], size: int, settings: ChunkingSettings) -> int:
    """How many sentences to repeat: as many as asked for and as fit before the next one."""
    kept = min(settings.overlap, len(sizes) - 1)
    while kept and sum(sizes[-kept:]) + size > settings.tokens:
        kept -= 1
    return kept


def _chunk(document: Document, headings: tuple[str, ...], sentences: list[Sentence]) -> Chunk:
    start, end = sentences[0].start, sentences[-1].end
    text = document.text[start:end]
    name = content_id(document.path, str(start), document.title, *headings, text)
    return Chunk(name, document.path, start, end, headings, tuple(sentences))


def with_context(title: str, chunk: Chunk, text: str, count: Count, room: int) -> str:
    """What is embedded for a chunk: its title and headings, as far as they fit, then its text."""
    context = [title, *chunk.headings]
    left = room - count(text)
    while context and count(" > ".join(context)) > left:
        context.pop(0)
    return "\n".join([*([" > ".join(context)] if context else []), text])
