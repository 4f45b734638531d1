"""Tokens of a text, counted with or without the embedding model."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from indexer.domain import EmbedderSettings
from indexer.embedding.probes import PROBES
from indexer.embedding.weights import locate


@dataclass(frozen=True, slots=True)
class Counter:
    """`count` as the embedding model counts; `limit` is the most that it reads."""

    count: Callable[[str], int]
    limit: int


def probe_counts(count: Callable[[str], int]) -> list[int]:
    """By which two counters are told apart."""
    return [count(probe) for probe in PROBES]


def light_counter(settings: EmbedderSettings, limit: int, counts: Sequence[int]) -> Counter | None:
    """Without the model, from its tokenizer alone; None unless it counts as the model did."""
    file = Path(locate(settings.name)) / "tokenizer.json"
    if not counts or not file.is_file():
        return None
    # Imported here: a run that finds nothing to do needs none of it.
    from tokenizers import Tokenizer

    tokenizer = Tokenizer.from_file(str(file))
    tokenizer.no_truncation()
    tokenizer.no_padding()

    def count(text: str) -> int:
        return len(tokenizer.encode(text, add_special_tokens=False).ids)

    return Counter(count, limit) if probe_counts(count) == list(counts) else None
