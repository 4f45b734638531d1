"""How well models foresee texts: what a specialist has forgotten of a general set, and gained.

A text is sent as a bare prompt to be echoed with the log-probability of each of its tokens: over
HTTP, so of the very model that is served. Bits per byte can be compared between tokenizers,
perplexity cannot (Gao et al., The Pile, arXiv:2101.00027, section 3.1).
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from eval.client import Client, ServiceRefused
from eval.comparing import compare
from eval.progress import phase, watched
from eval.report import Grid
from eval.stats import mean_interval
from indexer.errors import BadInput

# vLLM writes one token at least; it is none of the text's and is not counted.
ASKED: Final[Mapping[str, Any]] = {"echo": True, "logprobs": 0, "max_tokens": 1, "temperature": 0}
BARE: Final[Mapping[str, Any]] = {"dslm": {"passages": False, "demonstrations": False}}
_LOG2: Final = math.log(2)


@dataclass(frozen=True, slots=True)
class Foreseen:
    """What a text cost: `nats` over `tokens`, all but the first, and the text's size in bytes."""

    nats: float
    tokens: int
    size: int

    @property
    def bits_per_byte(self) -> float:
        return self.nats / _LOG2 / self.size


async def foresee(
    client: Client, models: Sequence[str], texts: Sequence[str]
) -> dict[str, list[Foreseen]]:
    """Every text by every model. BadInput where an endpoint tells no log-probabilities."""
    found: dict[str, list[Foreseen]] = {}
    for name in models:
        with phase(f"{len(texts)} texts by {name}", len(texts)) as advance:
            asked = [watched(_foreseen(client, name, text), advance) for text in texts]
            found[name] = list(await asyncio.gather(*asked))
    return found


async def _foreseen(client: Client, name: str, text: str) -> Foreseen:
    # A base has no documents that could be left out, and takes the request as any endpoint does.
    options = {**ASKED, **({} if name == "base" else BARE)}
    try:
        reply = await client.complete(name, text, options)
    except ServiceRefused as error:
        raise BadInput(
            f"{name} was not asked about the text {text[:60]!r}: {error}",
            "Shorten the texts with --most, or see whether it knows `echo` with `logprobs`",
        ) from error
    return read_foreseen(reply, name, text)


def read_foreseen(reply: Mapping[str, Any], name: str, text: str) -> Foreseen:
    """What an echoed prompt says of itself; tokens behind the text's end are the answer's."""
    told = reply["choices"][0].get("logprobs") or {}
    values, offsets = told.get("token_logprobs"), told.get("text_offset")
    if not isinstance(values, list) or not isinstance(offsets, list):
        raise BadInput(
            f"{name} tells no log-probabilities of a prompt that it echoes",
            "Give an endpoint whose completions know `echo` with `logprobs`, such as this service",
        )
    own = [
        value
        for value, at in zip(values, offsets, strict=True)
        if at < len(text) and value is not None
    ]
    return Foreseen(-sum(own), len(own), len(text.encode()))


def perplexity_grid(found: Mapping[str, Sequence[Foreseen]], title: str) -> Grid:
    """A line for each model, the others beside the first on the same texts, by Holm."""
    scores = {name: [one.bits_per_byte for one in told] for name, told in found.items()}
    first = next(iter(found))
    against = {one.second: one for one in compare(scores) if one.first == first}
    rows = []
    for name, told in found.items():
        low, high = mean_interval(scores[name])
        cells = ["-", "-", "-"]
        if name in against:
            one = against[name]
            cells = [
                f"{0.0 - one.difference:+.4f}",
                f"{0.0 - one.interval[1]:+.4f} to {0.0 - one.interval[0]:+.4f}",
                f"{one.adjusted:.4f}",
            ]
        mean = sum(scores[name]) / len(scores[name])
        rows.append(
            (
                name,
                f"{mean:.4f}",
                f"{low:.4f} to {high:.4f}",
                f"{_perplexity(told):.2f}",
                *cells,
            )
        )
    head = ("model", "bits per byte", "95 %", "perplexity", f"less {first}", "95 %", "p, Holm")
    return Grid(title, head, tuple(rows))


def _perplexity(told: Sequence[Foreseen]) -> float:
    """Over all tokens of all texts."""
    return math.exp(sum(one.nats for one in told) / max(1, sum(one.tokens for one in told)))
