"""Sentences to groups: as many as the budget holds, with lists, code and tables kept whole.

A run is a list, a piece of code or a table: blocks of one kind that follow each other.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby

from indexer.domain import ChunkingSettings
from indexer.records import Block, Sentence

_RUNS = frozenset({"item", "code", "row"})


@dataclass(frozen=True, slots=True)
class Piece:
    """A sentence and its tokens."""

    sentence: Sentence
    size: int


Unit = list[Piece]
Cut = Callable[[Block], Unit]


def units(text: str, blocks: Sequence[Block], cut: Cut, tokens: int) -> Iterator[Unit]:
    """What is not parted unless it must be, in order: a sentence, an item, a whole short list.

    What introduces a run ("... as follows:") stays with its beginning.
    """
    lead: Unit = []
    for kind, run in groupby(blocks, key=lambda block: block.kind):
        if kind in _RUNS:
            yield from _whole(lead, [cut(block) for block in run], tokens)
            lead = []
            continue
        for block in run:
            yield from ([piece] for piece in lead)
            pieces = cut(block)
            introduces = bool(pieces) and text[block.end - 1] == ":"
            lead = pieces[-1:] if introduces else []
            yield from ([piece] for piece in pieces[: len(pieces) - len(lead)])
    yield from ([piece] for piece in lead)


def _whole(lead: Unit, items: list[Unit], tokens: int) -> Iterator[Unit]:
    """One unit if it fits, else an item each, else the sentences of an item."""
    first = [*lead, *items[0]]
    together = [first, *items[1:]]
    if sum(map(size_of, together)) <= tokens:
        yield [piece for item in together for piece in item]
        return
    for item in together if size_of(first) <= tokens else [*([lead] if lead else []), *items]:
        if size_of(item) <= tokens:
            yield item
        else:
            yield from ([piece] for piece in item)


def size_of(unit: Unit) -> int:
    return sum(piece.size for piece in unit)


def pack(found: Iterator[Unit], settings: ChunkingSettings) -> Iterator[Unit]:
    """Groups of units within the budget; one unit above it is a group of its own."""
    group: Unit = []
    total = 0
    for unit in found:
        size = size_of(unit)
        if group and total + size > settings.tokens:
            yield group
            group = _overlap(group, size, settings)
            total = size_of(group)
        group.extend(unit)
        total += size
    if group:
        yield group


def _overlap(group: Unit, size: int, settings: ChunkingSettings) -> Unit:
    """The last pieces to repeat: as many as asked for and as fit before what comes next."""
    kept = min(settings.overlap, len(group) - 1)
    while kept and size_of(group[-kept:]) + size > settings.tokens:
        kept -= 1
    return group[len(group) - kept :]
