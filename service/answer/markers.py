"""Follows an answer as it is written and takes out the `[n]` that name nothing shown.

What comes out does not depend on how the text comes in: whole, or in pieces of any size. Only the
beginning of what may become a marker is held back.
"""

import re
from collections.abc import Mapping, Sequence

from adapters.markers import LONGEST, MARKER, OPENING, numbers
from adapters.prompt import REFUSAL_ID, Source


class Markers:
    """One answer. `found`: id, start and end of each marker in what was passed on.

    `sources` are what may be cited; None: a `[1]` is no citation here and nothing is checked.
    """

    def __init__(self, sources: Sequence[Source] | None) -> None:
        self._sources: Mapping[int, Source] | None = None
        if sources is not None:
            self._sources = {source.id: source for source in sources}
        self.found: list[tuple[int, int, int]] = []
        self.unknown: list[int] = []
        self._parts: list[str] = []
        self._length = 0
        self._held = ""
        self._cited: tuple[Source, ...] = ()
        self._since: list[str] = []

    @property
    def text(self) -> str:
        """What was passed on."""
        return "".join(self._parts)

    def feed(self, text: str) -> str:
        """What can be passed on now that `text` has come."""
        if self._sources is None or (not self._held and "[" not in text):
            return self._pass(text)
        return self._checked(self._held + text, self._sources)

    def end(self) -> str:
        """What was held back, now that nothing more comes."""
        return self._pass(self._held) if self._held else ""

    def _checked(self, text: str, sources: Mapping[int, Source]) -> str:
        opening = OPENING.search(text, max(0, text.rfind("[")))
        whole = text[: opening.start()] if opening else text
        self._held = text[len(whole) :]
        passed, at = [], 0
        for marker in MARKER.finditer(whole):
            passed.append(self._pass(whole[at : marker.start()]))
            passed.append(self._marker(marker, sources))
            at = marker.end()
        passed.append(self._pass(whole[at:]))
        return "".join(passed)

    def _pass(self, text: str) -> str:
        if not text:
            return text
        self._parts.append(text)
        self._length += len(text)
        if self._cited:
            self._since.append(text)
        return text

    def _marker(self, marker: re.Match[str], sources: Mapping[int, Source]) -> str:
        """The marker, less what it names in vain: nothing may be left of it."""
        if self._is_quoted(marker[0]):
            return self._pass(marker[0])
        listed = numbers(marker[1])
        unknown = [n for n in listed if n not in sources and n != REFUSAL_ID]
        if not unknown:
            return self._cite(marker[0], listed, sources)
        self.unknown += unknown
        known = [n for n in listed if n not in unknown]
        if known:
            return self._cite(f"[{', '.join(map(str, known))}]", known, sources)
        # Else what stands around it would close up to a marker that nobody wrote.
        return self._pass("[]") if OPENING.search(self._tail()) else ""

    def _cite(self, marker: str, listed: list[int], sources: Mapping[int, Source]) -> str:
        start = self._length
        self._pass(marker)
        self.found += [(n, start, self._length) for n in listed if n in sources]
        self._cited = tuple(sources[n] for n in listed if n in sources)
        self._since = []
        return marker

    def _is_quoted(self, marker: str) -> bool:
        """Does it stand in the very words that the answer is copying from what it cited last?"""
        if not self._cited:
            return False
        said = ("".join(self._since) + marker).lstrip()
        quotes = [q for s in self._cited for q in (s.quote, *s.passage.sentence_texts())]
        if any(quote.startswith(said) for quote in quotes):
            return True
        if len(said) > max(map(len, quotes)):
            self._cited = ()
        return False

    def _tail(self) -> str:
        tail = ""
        for part in reversed(self._parts):
            tail = part + tail
            if len(tail) >= LONGEST:
                break
        return tail
