"""Where a domain should refuse: its thresholds, calibrated on what it can and cannot answer."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from adapters.lookup import Lookup
from eval.report import Grid
from eval.stats import Share
from eval.tune_cases import Cases
from eval.tune_propose import FEWEST_UNANSWERABLE, Best, Calibration, Threshold, calibrate
from indexer.domain import RetrievalSettings

if TYPE_CHECKING:
    from indexer.search.ranking import Question

PASSAGE, QUOTE = "min_passage_score", "min_quote_score"
TITLES = {
    PASSAGE: "Where to refuse: the least cosine of the best passage",
    QUOTE: "Where the mode quote refuses: the least score of the best sentence",
}
Scores = Callable[["Sequence[Question]"], list[float]]


@dataclass(frozen=True, slots=True)
class Refusal:
    """One threshold of `[retrieval]`; no calibration: too few questions."""

    key: str
    calibration: Calibration | None
    verdict: str


def refusals(lookup: Lookup, cases: Cases, settings: RetrievalSettings) -> list[Refusal]:
    """Of passages, and of sentences where the domain may quote."""
    quotes = "quote" in (lookup.release.mode, lookup.release.fallback)
    scores: list[tuple[str, float, Scores]] = [
        (
            PASSAGE,
            settings.min_passage_score,
            lambda asked: list(best_cosines(lookup, asked, settings)),
        )
    ]
    if quotes:
        scores.append(
            (
                QUOTE,
                settings.min_quote_score,
                lambda asked: list(best_quotes(lookup, asked, settings)),
            )
        )
    kinds = (cases.measured + cases.others, cases.unanswerable, cases.strays)
    asked = [lookup.ask([case.text for case in kind]) if kind else [] for kind in kinds]
    return [_refusal(key, present, score, asked) for key, present, score in scores]


def best_cosines(
    lookup: Lookup, asked: "Sequence[Question]", settings: RetrievalSettings
) -> Iterator[float]:
    """For each question what decides whether anything counts as found.

    It is a cosine in every mode, of any candidate: what fusion or a cross-encoder makes of the
    order has no scale that two questions share.
    """
    depth = settings.passages
    if settings.mode == "hybrid" or settings.rerank or settings.diversity:
        depth = max(depth, settings.candidates)
    plain = {"rerank": None, "diversity": 0.0, "neighbours": 0, "passages": depth}
    everything = settings.model_copy(update={**plain, "min_passage_score": -1.0})
    for one in asked:
        hits = lookup.retriever.search(one, everything)
        yield max((hit.passage.score for hit in hits), default=-1.0)


def best_quotes(
    lookup: Lookup, asked: "Sequence[Question]", settings: RetrievalSettings
) -> Iterator[float]:
    """For each question the score of the sentence that the mode quote would say first."""
    from indexer.search.quoting import best_sentences

    everything = settings.model_copy(update={"min_passage_score": -1.0})
    for one in asked:
        hits = lookup.retriever.search(one, everything, scorer=lookup.scorer)
        passages = [hit.passage for hit in hits]
        embed = lookup.embedder.embed_passages
        quotes = best_sentences(one.text, passages, embed, one.vector, 1)
        yield quotes[0].score if quotes else -1.0


def threshold_grid(key: str, found: Calibration) -> Grid:
    """What each threshold would do, the mildest first."""
    head = (
        key,
        "value",
        "answerable, refused",
        "own unanswerable, answered",
        "of other domains, answered",
    )
    named = {found.best.value: "best", found.present.value: "present"}
    every = {one.value: one for one in (*found.others, found.best, found.present)}
    rows = [
        (named.get(value, ""), f"{value:.2f}", *_shares(every[value])) for value in sorted(every)
    ]
    return Grid(TITLES[key], head, tuple(rows))


def _refusal(
    key: str, present: float, score: Scores, asked: "Sequence[Sequence[Question]]"
) -> Refusal:
    answerable, refusable = len(asked[0]), len(asked[1]) + len(asked[2])
    if min(answerable, refusable) < FEWEST_UNANSWERABLE:
        few = f"{answerable} answerable and {refusable} unanswerable questions"
        return Refusal(key, None, f"keep {key}: {few} are too few, {FEWEST_UNANSWERABLE} of each")
    found = calibrate(Best(*(tuple(score(kind)) for kind in asked)), present)
    if found.better:
        return Refusal(key, found, f"better than the present {key}: (p = {found.p:.3f})")
    verdict = f"keep {key}: no other is significantly better (p = {found.p:.2f})"
    return Refusal(key, found, verdict)


def _shares(one: Threshold) -> tuple[str, ...]:
    kept = [
        Share(total - refused, total)
        for refused, total in (one.refused_unanswerable, one.refused_strays)
    ]
    return tuple(map(str, (Share(*one.refused_answerable), *kept)))
