"""Whether an engine applies an adapter as it was trained, told by log-probabilities of tokens.

A fingerprint holds how probable the base and the adapter found some tokens after a few prompts,
where the version was made;
`adapters.fingerprinting` computes it, and alone of the two imports torch.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Final, Self, TypeAlias

from pydantic import BaseModel, BeforeValidator, ConfigDict, PlainSerializer, model_validator

# What is asked where no fingerprint says what: several kinds of text, none of anybody's.
PROMPTS: Final = (
    "Question: Which day comes after Monday, and how many days has a week?\n"
    "Answer: Tuesday comes after Monday. A week has seven days.",
    "[1] The office opens at nine. [2] It closes at five on Fridays.\n"
    "When does the office open? It opens at nine [1].",
    "Dear customer, thank you for your message. Please send us the number of your order.",
)
# Nats. Less than fp32's rounding explains is no effect where a version was made.
LEAST_EFFECT: Final = 0.001
# In bf16 the least change of a base, in whatever place, is rounded to something: adapters made a
# hundred thousand times weaker moved the demonstration base by 0.01 to 0.06.
LEAST_UNKNOWN: Final = 0.1
LEAST_GAP: Final = 0.02
# So many times the noise that was seen is no noise; on its way through other kernels an adapter
# gathers about as much as its base (`python -m eval families` prints both).
ABOVE_NOISE: Final = 4.0
ABOVE_OTHERS: Final = 2.5
# A large change is rounded by a share of itself: bf16 carries eight bits, layer after layer.
ROUNDED: Final = 0.05

# Of each text the end and the middle are asked, each for so many tokens that may follow.
LONGEST: Final = 48
SHORTEST: Final = 8
ASKED: Final = 16

Logprobs: TypeAlias = Sequence[Sequence[float]]


def _split(value: object) -> object:
    return value.split() if isinstance(value, str) else value


def _join(values: Sequence[float]) -> str:
    return " ".join(str(round(value, 4)) for value in values)


_TEXT: Final = (BeforeValidator(_split), PlainSerializer(_join, return_type=str, when_used="json"))
Tokens = Annotated[tuple[int, ...], *_TEXT]
Nats = Annotated[tuple[float, ...], *_TEXT]


class Fingerprint(BaseModel):
    """Prompts as token ids, and the log-probability (nats) that each of `tokens` follows them."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    tokens: Tokens
    prompts: tuple[Tokens, ...]
    base: tuple[Nats, ...]
    adapter: tuple[Nats, ...]

    @model_validator(mode="after")
    def _is_whole(self) -> Self:
        if not self.tokens or not self.prompts or not all(self.prompts):
            raise ValueError("asks for nothing")
        for name, found in (("base", self.base), ("adapter", self.adapter)):
            if [len(one) for one in found] != [len(self.tokens)] * len(self.prompts):
                raise ValueError(f"`{name}` has not one value for each token after each prompt")
        return self

    @property
    def effect(self) -> float:
        """How far the adapter moves its base, where it was made."""
        return apart(self.adapter, self.base)


@dataclass(frozen=True, slots=True)
class Reading:
    """How far an engine's adapter is from its base, and what of that is noise: `least`.

    All are root mean squares in nats; `gap` is how far the adapter is from its fingerprint, of
    which `allowed` is rounding. Both are None where there is no fingerprint.
    """

    effect: float
    least: float
    gap: float | None = None
    allowed: float | None = None

    @property
    def fault(self) -> str:
        """Why the adapter is not to be served; empty if nothing speaks against it."""
        if self.effect <= self.least:
            nothing = math.isinf(self.least)
            why = "nor did it where it was made" if nothing else f"noise {self.least:.2g}"
            return (
                "it makes no difference: its log-probabilities are the base's"
                f" (apart by {self.effect:.2g} nats, {why})"
            )
        if self.gap is not None and self.allowed is not None and self.gap > self.allowed:
            return (
                "the engine does not apply it as it was trained: its log-probabilities are"
                f" {self.gap:.2g} nats from its fingerprint, rounding explains {self.allowed:.2g}"
            )
        return ""

    def __str__(self) -> str:
        known = "no fingerprint" if self.gap is None else f"{self.gap:.2g} from its fingerprint"
        return f"{self.effect:.2g} nats from its base, {known}"


def read(
    base: Logprobs, again: Logprobs, adapter: Logprobs, fingerprint: Fingerprint | None
) -> Reading:
    """Compare. ValueError if they are not of one size.

    The base is asked twice: what is computed beside it may disturb it. How far it is from the
    fingerprint's shows what the two computations differ by anyway: another precision, other
    kernels, a quantised base.
    """
    effect, noise = apart(adapter, base), ABOVE_NOISE * apart(base, again)
    if fingerprint is None:
        return Reading(effect, max(LEAST_UNKNOWN, noise))
    elsewhere = apart(base, fingerprint.base)
    is_nothing = fingerprint.effect <= LEAST_EFFECT
    rounding = max(LEAST_EFFECT, min(elsewhere, LEAST_UNKNOWN))
    least = math.inf if is_nothing else max(rounding, noise)
    allowed = max(LEAST_GAP, ABOVE_OTHERS * elsewhere + ROUNDED * fingerprint.effect)
    return Reading(effect, least, apart(adapter, fingerprint.adapter), allowed)


def asked_of(
    texts: Sequence[Sequence[int]], context: int
) -> tuple[tuple[tuple[int, ...], ...], tuple[int, ...]]:
    """Prompts and tokens to ask for, from texts as token ids: the same for the same texts."""
    longest = max(SHORTEST, min(LONGEST, context // 2))
    whole = [tuple(text[:longest]) for text in texts]
    prompts = tuple(part for text in whole for part in (text[: max(1, len(text) // 2)], text))
    known = sorted({token for text in whole for token in text})
    return prompts, tuple(known[at * len(known) // ASKED] for at in range(min(ASKED, len(known))))


def apart(one: Logprobs, other: Logprobs) -> float:
    """The root mean square of the differences, in nats."""
    squares = [
        (mine - theirs) ** 2
        for row, its in zip(one, other, strict=True)
        for mine, theirs in zip(row, its, strict=True)
    ]
    return math.sqrt(sum(squares) / max(1, len(squares)))
