"""Replaces personal data in documents, before anything else sees them."""

import importlib.metadata
from collections import Counter
from collections.abc import Iterable
from dataclasses import replace
from itertools import accumulate

from indexer.errors import BadInput
from indexer.records import Block, Document, Value
from indexer.text import personal
from indexer.text.personal import Finder

# Part of what decides what a document holds: raise it when masking changes.
MASKER_VERSION = "2"

# Looked for in this order: where two kinds would have the same characters, the first has them.
KINDS: dict[str, Finder] = {
    "email": personal.emails,
    "url": personal.urls,
    "iban": personal.ibans,
    "credit_card": personal.credit_cards,
    "us_ssn": personal.us_ssns,
    "ip_address": personal.ip_addresses,
    "phone": personal.phones,
}
_LIBRARIES = ("phonenumbers", "python-stdnum")


def masker_identity(kinds: Iterable[str]) -> str:
    """Changes whenever masking may give something else; "" where nothing is masked."""
    wanted = sorted(set(kinds))
    if not wanted:
        return ""
    versions = [f"{name} {importlib.metadata.version(name)}" for name in _LIBRARIES]
    return ", ".join([MASKER_VERSION, *wanted, *versions])


class Masker:
    """Puts `<EMAIL>` for an e-mail address and so on; BadInput for a kind that is not known."""

    def __init__(self, kinds: Iterable[str]) -> None:
        wanted = set(kinds)
        unknown = sorted(wanted - KINDS.keys())
        if unknown:
            raise BadInput(
                f"`masking.kinds` names {unknown[0]!r}, which is no kind of personal data here",
                f"Known kinds: {', '.join(KINDS)}",
            )
        self._finders = {kind: find for kind, find in KINDS.items() if kind in wanted}

    def mask(self, document: Document) -> tuple[Document, Counter[str]]:
        """The document without what was found, and how often each kind was found.

        Text, title and metadata are masked, blocks and pages moved along; path, id and digest
        still name the source.
        """
        counts: Counter[str] = Counter()
        lines = [
            self._line(document.text[block.start : block.end], counts) for block in document.blocks
        ]
        once: Counter[str] = Counter()  # the title stands in the text as well
        title = self._line(document.title, once)
        fields = {name: self._value(value, counts) for name, value in document.fields.items()}
        if not counts and not once:
            return document, counts
        starts = [0, *accumulate(len(line) + 1 for line in lines)]
        masked = replace(
            document,
            title=title,
            text="\n".join(lines),
            blocks=tuple(
                Block(block.kind, start, start + len(line), block.level)
                for block, start, line in zip(document.blocks, starts, lines, strict=False)
            ),
            pages=_moved(document, starts[:-1], starts[-1] - 1),
            fields=fields,
        )
        return masked, counts

    def mask_text(self, text: str) -> tuple[str, Counter[str]]:
        """A text that is no document, line by line."""
        counts: Counter[str] = Counter()
        lines = [self._line(line, counts) for line in text.split("\n")]
        return "\n".join(lines), counts

    def _value(self, value: Value, counts: Counter[str]) -> Value:
        return self._line(value, counts) if isinstance(value, str) else value

    def _line(self, line: str, counts: Counter[str]) -> str:
        """Until nothing is left: a number that is masked may have hidden the one beside it."""
        while (masked := self._once(line, counts)) != line:
            line = masked
        return line

    def _once(self, line: str, counts: Counter[str]) -> str:
        """One kind after the other: what is masked already can be nothing else."""
        for kind, find in self._finders.items():
            pieces: list[str] = []
            end = 0
            for start, stop in find(line):
                counts[kind] += 1
                pieces += (line[end:start], f"<{kind.upper()}>")
                end = stop
            if end:
                line = "".join([*pieces, line[end:]])
        return line


def _moved(document: Document, starts: list[int], end: int) -> tuple[int, ...]:
    """Where the pages begin now: each begins with a block, or at the end if it is empty."""
    places = dict(zip((block.start for block in document.blocks), starts, strict=True))
    return tuple(places.get(page, end) for page in document.pages)
