"""Answers of the live release and its mirror to the same requests: how alike, and which is better.

The judge is optional and any OpenAI endpoint. It sees each pair in both orders and counts only
where both say the same (Zheng et al., arXiv:2306.05685, on its bias for what stands first); no
verdict is dropped: what is none is counted.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean, median
from typing import Final, Literal

from adapters.mirrored import Comparison
from eval.client import Client, ServiceRefused
from eval.likeness import in_common, words
from eval.progress import phase, watched
from eval.stats import mcnemar
from indexer.errors import BadInput

LEVEL: Final = 0.05
_ASKED: Final = (
    "Two assistants answered the same request{request}Which answer is better: correct, supported,"
    " complete, and to the point? Write A, B or TIE, and nothing else.\n\n"
    "Answer A:\n{first}\n\nAnswer B:\n{second}\n\nBetter:"
)
_VERDICT: Final = re.compile(r"\b(A|B|TIE)\b")
Winner = Literal["mirror", "live", "tie", "none"]


@dataclass(frozen=True, slots=True)
class Likeness:
    """`likeness`: mean share of words in common of those that differ; `ratio`: of median times."""

    live: int
    mirror: int
    pairs: int
    same: int
    failed: int
    likeness: float
    ratio: float


@dataclass(frozen=True, slots=True)
class Judge:
    """An OpenAI endpoint, its model and its key."""

    url: str
    name: str
    key: str | None = None


@dataclass(frozen=True, slots=True)
class Judged:
    """How many pairs each won; `winner` is "" unless a sign test is below 5 %."""

    mirror: int
    live: int
    tied: int
    failed: int
    p: float
    winner: str


def likeness(kept: Sequence[Comparison]) -> Likeness:
    """Of the pairs of the newest two releases; BadInput where there is none."""
    last = kept[-1]
    own = _of(kept, last.live.release, last.mirror.release)
    good = [one for one in own if not one.mirror.error]
    differing = [one for one in good if not one.same]
    timed = [one for one in good if one.live.seconds and one.mirror.seconds]
    ratio = 1.0
    if timed:
        ratio = median(one.mirror.seconds or 0.0 for one in timed) / median(
            one.live.seconds or 0.0 for one in timed
        )
    alike = [_alike(one.live.text, one.mirror.text) for one in differing]
    return Likeness(
        live=last.live.release,
        mirror=last.mirror.release,
        pairs=len(own),
        same=sum(one.same for one in good),
        failed=len(own) - len(good),
        likeness=fmean(alike) if alike else 1.0,
        ratio=ratio,
    )


def _alike(one: str, other: str) -> float:
    """The share of both texts' words that stand in both in the same order."""
    first, second = words(one), words(other)
    both = len(first) + len(second)
    return 2 * in_common(first, second) / both if both else 1.0


def newest(kept: Sequence[Comparison], limit: int) -> list[Comparison]:
    """Pairs of the newest two releases that differ, the newest last."""
    last = kept[-1]
    own = _of(kept, last.live.release, last.mirror.release)
    differing = [one for one in own if not one.same and not one.mirror.error]
    if not differing:
        raise BadInput("No two answers differ, so there is nothing to judge", "Wait for more")
    return differing[-limit:]


async def judge_pairs(pairs: Sequence[Comparison], judge: Judge) -> Judged:
    """Each pair in both orders."""
    async with Client(judge.url, key=judge.key) as client:
        with phase(f"{len(pairs)} pairs, judged by {judge.name}", len(pairs)) as advance:
            verdicts = await asyncio.gather(
                *(watched(_judged(client, judge, one), advance) for one in pairs)
            )
    mirror, live = verdicts.count("mirror"), verdicts.count("live")
    p = mcnemar(mirror, live)
    winner = ("the mirror" if mirror > live else "the live one") if p < LEVEL else ""
    return Judged(mirror, live, verdicts.count("tie"), verdicts.count("none"), p, winner)


async def _judged(client: Client, judge: Judge, pair: Comparison) -> Winner:
    """Both orders must agree: who says A twice likes what stands first."""
    there, back = [
        await _verdict(client, judge, pair.asked, first, second)
        for first, second in (
            (pair.mirror.text, pair.live.text),
            (pair.live.text, pair.mirror.text),
        )
    ]
    if there is None or back is None:
        return "none"
    if (there, back) == ("A", "B"):
        return "mirror"
    return "live" if (there, back) == ("B", "A") else "tie"


async def _verdict(
    client: Client, judge: Judge, question: str, first: str, second: str
) -> str | None:
    request = f", which was:\n{question}\n\n" if question else ". "
    asked = _ASKED.format(request=request, first=first, second=second)
    try:
        answer = await client.chat(
            judge.name,
            [{"role": "user", "content": asked}],
            {"temperature": 0, "max_tokens": 8},
        )
    except ServiceRefused:
        return None
    found = _VERDICT.search(answer.text)
    return found.group(1) if found else None


def _of(kept: Sequence[Comparison], live: int, mirror: int) -> list[Comparison]:
    return [one for one in kept if (one.live.release, one.mirror.release) == (live, mirror)]
