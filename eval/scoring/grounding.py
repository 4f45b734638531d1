"""Does what an answer cites support what it says? Claim by claim, after ALCE (arXiv:2305.14627).

A claim is a sentence of the answer; it is supported if the words that its markers lead to, all
together, support it. A citation counts as right if it supports its claim alone, or if the claim is
not supported without it (ALCE, section 4.2).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

from eval.stats import Share
from indexer.index.lexical_words import Stems
from indexer.text.sentences import split_sentences

_NUMBER: Final = re.compile(r"\d+(?:[.,]\d+)*")
_NEGATION: Final = re.compile(r"\b(?:not|never|no|none|cannot|without|neither|nor)\b|n['’]t\b")  # noqa: RUF001
ENOUGH: Final = 0.7  # of a claim's words


@dataclass(frozen=True, slots=True)
class Marker:
    """Its place in the answer, and the words of a document that it leads to."""

    start: int
    end: int
    quote: str


@dataclass(frozen=True, slots=True)
class Claim:
    """A sentence of an answer without its markers, and what those lead to."""

    text: str
    quotes: tuple[str, ...]


Pair = tuple[str, str]  # what is cited, and what is claimed
# For each pair whether the first supports the second; None where that could not be found out.
Supports = Callable[[Sequence[Pair]], Sequence[bool | None]]


@dataclass(frozen=True, slots=True)
class Grounding:
    """Of all claims of some answers. `failed`: verdicts that could not be had, in no other share.

    `recall`: claims that are supported; `precision`: citations that are right; `cited`: claims with
    a citation; `grounded`: answers of which every claim is supported.
    """

    recall: Share
    precision: Share
    cited: Share
    grounded: Share
    failed: int


def claims(answer: str, markers: Sequence[Marker]) -> list[Claim]:
    """The answer's sentences. Where it opens with a marker, markers stand before what they prove,
    else behind it; one within a sentence is that sentence's.
    """
    ordered = sorted(markers, key=lambda one: one.start)
    plain, places = _without(answer, ordered)
    spans = [(one.start, one.end) for one in split_sentences(plain)]
    before = bool(ordered) and not answer[: ordered[0].start].strip()
    quotes: list[list[str]] = [[] for _ in spans]
    for marker, at in zip(ordered, places, strict=True):
        owner = _owner(spans, at, before=before)
        if owner is not None and marker.quote not in quotes[owner]:
            quotes[owner].append(marker.quote)
    found = [
        Claim(plain[start:end].strip(), tuple(told))
        for (start, end), told in zip(spans, quotes, strict=True)
    ]
    return [one for one in found if re.search(r"\w", one.text)]


def _without(answer: str, markers: Sequence[Marker]) -> tuple[str, list[int]]:
    """The text less its markers, and where each stood in what is left."""
    plain, places, at = "", [], 0
    for one in markers:
        plain += answer[at : max(at, one.start)]
        places.append(len(plain))
        at = max(at, one.end)
    return plain + answer[at:], places


def _owner(spans: Sequence[tuple[int, int]], at: int, *, before: bool) -> int | None:
    for place, (start, end) in enumerate(spans):
        if start < at < end:
            return place
    if before:
        return next((place for place, (start, _) in enumerate(spans) if start >= at), None)
    behind = [place for place, (_, end) in enumerate(spans) if end <= at]
    return behind[-1] if behind else None


def ground(answers: Sequence[Sequence[Claim]], supports: Supports) -> Grounding:
    """Judge all claims of all answers at once; what nothing is cited for is not supported."""
    pairs = sorted({pair for told in answers for claim in told for pair in _pairs(claim)})
    known = dict(zip(pairs, supports(pairs), strict=True))
    recall, precision, cited, grounded = [], [], [], []
    for told in answers:
        verdicts = [_supported(claim, known) for claim in told]
        cited += [bool(claim.quotes) for claim in told]
        recall += [one for one in verdicts if one is not None]
        if told and None not in verdicts:
            grounded.append(all(verdicts))
        for claim, whole in zip(told, verdicts, strict=True):
            precision += _right(claim, whole, known)
    return Grounding(
        Share.of(recall),
        Share.of(precision),
        Share.of(cited),
        Share.of(grounded),
        sum(one is None for one in known.values()),
    )


def _pairs(claim: Claim) -> list[Pair]:
    """All that is cited together; each citation alone; and what is left without it."""
    if not claim.quotes:
        return []
    sets = [claim.quotes, *((quote,) for quote in claim.quotes)]
    if len(claim.quotes) > 2:
        sets += [_others(claim, quote) for quote in claim.quotes]
    return [(" ".join(one), claim.text) for one in sets]


def _others(claim: Claim, quote: str) -> tuple[str, ...]:
    return tuple(one for one in claim.quotes if one != quote)


Known = dict[Pair, bool | None]


def _supported(claim: Claim, known: Known) -> bool | None:
    return known[" ".join(claim.quotes), claim.text] if claim.quotes else False


def _right(claim: Claim, whole: bool | None, known: Known) -> list[bool]:
    """For each citation of a claim whether it is needed; nothing for those that are not known."""
    found = []
    for quote in claim.quotes:
        alone = known[quote, claim.text]
        if whole is None or alone is None:
            continue
        others = _others(claim, quote)
        without = known.get((" ".join(others), claim.text)) if others else False
        found.append(whole and (alone or without is False))
    return found


def by_words(pairs: Sequence[Pair]) -> list[bool | None]:
    """Lexical support: most of the claim's words, all its numbers, and no turn to its contrary.

    A lower bound for what is put in other words, and needs no model.
    """
    stems = Stems()
    return [_covered(premise, claim, stems) for premise, claim in pairs]


def _covered(premise: str, claim: str, stems: Stems) -> bool:
    wanted, had = set(stems.of(claim)), set(stems.of(premise))
    numbers = {one.replace(",", "") for one in _NUMBER.findall(claim)}
    if numbers - {one.replace(",", "") for one in _NUMBER.findall(premise)}:
        return False
    if bool(_NEGATION.search(claim.lower())) != bool(_NEGATION.search(premise.lower())):
        return False
    return not wanted or len(wanted & had) / len(wanted) >= ENOUGH
