"""Rows with what the service would have put into their prompts: retrieved, and never themselves.

ICL-train (arXiv 2512.19879) and RAG-train (RAFT, arXiv 2403.10131): an adapter that is served
with demonstrations and passages is trained with them, by the same retriever and settings.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from adapters.lookup import Lookup
from adapters.prompt import Source, parse_citations
from adapters.rows.likeness import SharedRuns, alike
from adapters.training.rendering import Rendering, Row, posed
from indexer.records import Demonstration, Passage, Vectors

_SPARE = 24


@dataclass(frozen=True, slots=True)
class ShotSettings:
    """At most how much of each is shown; a row's number of demonstrations is drawn, down to 0.

    Of the rows that name their passages a share `absent` is shown others only, and learns to
    refuse. Questions alike by `near` are one: neither is shown with the other's answer.
    """

    demonstrations: int = 0
    passages: int = 0
    absent: float = 0.2
    near: float = 0.8
    seed: int = 0


class Shots:
    """Poses rows by a live snapshot; the order of what is shown is the service's."""

    def __init__(self, lookup: Lookup, rendering: Rendering, settings: ShotSettings) -> None:
        self._lookup = lookup
        self._rendering = rendering
        self._settings = settings
        self._retrieval = lookup.release.retrieval.model_copy(
            update={"passages": settings.passages}
        )

    def pose(self, rows: Sequence[Row]) -> Iterator[Row]:
        """The same rows in their order, each with demonstrations and passages of its own."""
        asked = [row.messages[-1]["content"] for row in rows]
        runs, questions = SharedRuns(asked), self._lookup.ask(asked)
        for row, question in zip(rows, questions, strict=True):
            assert question.similar is not None
            hits = (
                self._lookup.retriever.search(question, self._retrieval, None, self._lookup.scorer)
                if self._settings.passages
                else []
            )
            shown = replace(row, demonstrations=self._like(row, question.similar, runs))
            yield self._with_passages(shown, [hit.passage for hit in hits])

    def _like(self, row: Row, vector: Vectors, runs: SharedRuns) -> tuple[Demonstration, ...]:
        """What the service would show if this row were not among its examples."""
        wanted = _lot(row, self._settings, self._settings.demonstrations + 1)
        if not wanted:
            return ()
        found = self._lookup.retriever.demonstrations(
            vector,
            wanted + _SPARE,
            self._lookup.release.retrieval.min_demonstration_score,
            exclude=[row.id] if row.id else (),
        )
        others = [one for one in found if not gives_away(one, row, self._settings.near, runs)]
        return tuple(others[-wanted:])

    def _with_passages(self, row: Row, found: Sequence[Passage]) -> Row:
        """The row's own passages among those that were found, or those alone."""
        if not self._settings.passages or not row.passages:
            return row if not self._settings.passages else replace(row, passages=tuple(found))
        own = {text for one in row.passages for text in one.sentence_texts()}
        others = [one for one in found if not own & set(one.sentence_texts())]
        if _share(row, self._settings) < self._settings.absent and others:
            return replace(row, passages=tuple(others), answer=self._rendering.refusal)
        place = _lot(row, self._settings, len(others) + 1)
        mixed = (*others[:place], *row.passages, *others[place:])
        return renumbered(row, replace(row, passages=mixed), self._rendering)


def gives_away(demonstration: Demonstration, row: Row, near: float, runs: SharedRuns) -> bool:
    """Is this the row itself, one of its group, or one that asks nearly the same?"""
    asked = row.messages[-1]["content"]
    return (
        bool(row.id and demonstration.id == row.id)
        or bool(row.group and demonstration.group == row.group)
        or alike(runs.without(demonstration.question), runs.without(asked), near)
        or runs.between(demonstration.question, asked)
    )


def renumbered(before: Row, after: Row, rendering: Rendering) -> Row:
    """The row with the numbers that its citations have among other passages.

    A sentence that no longer finds a number (a prompt numbers so many) takes its row's passages
    back: an answer must not cite what it was not shown.
    """
    was = {source.id: source for source in posed(before, rendering).sources}
    now = {_key(source): source.id for source in posed(after, rendering).sources}
    numbers = {old: now.get(_key(source)) for old, source in was.items()}
    cited = {number for number, _, _ in parse_citations(before.answer)}
    if any(numbers.get(number) is None for number in cited if number in was):
        return before
    return replace(after, answer=_rewritten(before.answer, numbers))


def _key(source: Source) -> tuple[str, int, int]:
    return source.passage.chunk, source.start, source.end


def _rewritten(answer: str, numbers: Mapping[int, int | None]) -> str:
    """From the end, so that earlier places stay; a marker of several numbers is written anew."""
    places: dict[tuple[int, int], list[int]] = {}
    for number, start, end in parse_citations(answer):
        places.setdefault((start, end), []).append(numbers.get(number) or number)
    for (start, end), new in sorted(places.items(), reverse=True):
        answer = f"{answer[:start]}[{', '.join(map(str, new))}]{answer[end:]}"
    return answer


def _lot(row: Row, settings: ShotSettings, count: int) -> int:
    """0 to count - 1, by the row and the seed."""
    return int(_share(row, settings) * 1e9) % count


def _share(row: Row, settings: ShotSettings) -> float:
    said = f"{settings.seed} {row.messages[-1]['content']} {row.answer}"
    return int(hashlib.sha256(said.encode()).hexdigest()[:12], 16) / 16**12
