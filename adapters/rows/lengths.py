"""How many tokens an example has as it will be trained: composed, in the base's template."""

from __future__ import annotations

from collections.abc import Callable

from adapters.base import BaseProfile
from adapters.rows.example import Example
from adapters.training.rendering import Rendering, Row, passage, render
from indexer.domain import AnswerSettings


def token_counter(
    base: BaseProfile, answer: AnswerSettings | None = None
) -> Callable[[Example], int]:
    """Counts with the base's tokenizer; BadInput where its template spoils a row."""
    from transformers import AutoTokenizer

    answer = answer or AnswerSettings()
    tokenizer = AutoTokenizer.from_pretrained(base.folder)
    ends = frozenset({tokenizer.eos_token_id})
    rendering = Rendering(answer.prompt_format, answer.system, answer.refusal, ends)

    def count(example: Example) -> int:
        if example.kind == "text":
            return len(tokenizer.encode(example.answer))
        passages = [passage(example.place, at, texts) for at, texts in enumerate(example.passages)]
        answers = [example.answer, *([example.worse] if example.worse else [])]
        rows = [Row(example.place, example.turns, one, tuple(passages)) for one in answers]
        return max(len(render(row, rendering, tokenizer).tokens) for row in rows)

    return count
