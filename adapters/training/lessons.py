"""Rows to lessons: tokens that fit into the base's context, whole, with nothing cited unseen."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from adapters.base import BaseProfile
from adapters.counting import TokenCounter
from adapters.prompt import parse_citations
from adapters.training.lora import Learner, Lesson
from adapters.training.rendering import Rendering, Row, free, posed, render, windows
from adapters.training.settings import TrainSettings
from indexer.errors import BadInput


def lessons_of(
    settings: TrainSettings, base: BaseProfile, rows: Sequence[Row], learner: Learner
) -> list[Lesson]:
    """Render every row; one that exceeds the context is left out whole, never cut."""
    limit = settings.max_tokens or base.context
    if settings.method == "continued":
        end = min(learner.end_tokens)
        return [(one,) for row in rows for one in windows(row, end, learner.tokenizer, limit)]
    rendering = rendering_of(settings, base, learner.end_tokens)
    rendered = [_lesson(row, rendering, learner) for row in rows if _shows_what(row, rendering)]
    found = [lesson for lesson in rendered if _length(lesson) <= limit]
    if not found:
        shortest = min(map(_length, rendered), default=0)
        raise BadInput(
            f"No row of {settings.rows} fits into {limit} tokens, the shortest has {shortest}",
            "Shorten the rows, or take a base with a longer context",
        )
    return found


def rendering_of(
    settings: TrainSettings, base: BaseProfile, end_tokens: frozenset[int]
) -> Rendering:
    """As the service composes: within the context less the tokens kept for an answer, if given."""
    fixed = Rendering(settings.prompt_format, settings.system, settings.refusal, end_tokens)
    if settings.answer_tokens is None:
        return fixed
    counter = TokenCounter(str(base.folder))
    room = max(0, base.context - settings.answer_tokens)
    return replace(fixed, budget=room, count=counter.count, per_message=counter.per_message)


def _shows_what(row: Row, rendering: Rendering) -> bool:
    """Is everything that the answer cites in the prompt? Passages may have been dropped to fit."""
    cited = [number for number, _, _ in parse_citations(row.answer)] if row.passages else []
    if not cited or rendering.count is free:
        return True
    return max(cited) <= len(posed(row, rendering).sources)


def _lesson(row: Row, rendering: Rendering, learner: Learner) -> Lesson:
    better = render(row, rendering, learner.tokenizer)
    if not row.worse:
        return (better,)
    return better, render(replace(row, answer=row.worse), rendering, learner.tokenizer)


def _length(lesson: Lesson) -> int:
    return max(len(row.tokens) for row in lesson)
