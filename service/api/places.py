"""How much may be under way at once, and how much an answer is taken for before it is made."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field

from indexer.errors import BadInput
from service.settings import ServiceSettings

BYTES_PER_TOKEN = 4
USUAL_ANSWER = 256


@dataclass(frozen=True, slots=True)
class Limits:
    """`answers` in flight altogether and `per_domain`; `queued` per domain for `seconds` at most.

    `adapters`: how many may be active at once. `tokens`: how many all answers in flight may
    come to, those of a domain to three quarters of that; 0: any. `shares`: a domain's weight, 1
    where not named.
    """

    answers: int
    per_domain: int
    queued: int
    seconds: float
    adapters: int
    tokens: int = 0
    shares: Mapping[str, float] = field(default_factory=dict)


def limits_of(settings: ServiceSettings) -> Limits:
    """As the settings say. BadInput names what is no weight."""
    answers = settings.max_concurrent
    shares = {}
    for one in settings.shares.split():
        name, _, weight = one.partition("=")
        try:
            shares[name] = float(weight)
        except ValueError as error:
            raise BadInput(f"DSLM_SHARES: {one!r} is no weight", "Write name=3") from error
        if not 0 < shares[name] < math.inf:
            raise BadInput(f"DSLM_SHARES: {one!r} is no positive weight", "Write name=3")
    return Limits(
        answers=answers,
        per_domain=settings.max_concurrent_domain or max(1, answers * 3 // 4),
        queued=settings.max_queued,
        seconds=settings.queue_seconds,
        adapters=settings.max_loras,
        tokens=settings.max_tokens_in_flight,
        shares=shares,
    )


def expected_tokens(body_bytes: int, limit: int | None, choices: int) -> int:
    """What an answer may come to, from what is known before any work is done for it."""
    return body_bytes // BYTES_PER_TOKEN + (limit or USUAL_ANSWER) * choices
