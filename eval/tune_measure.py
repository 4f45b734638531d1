"""How often, how high and how fast each way of retrieval finds what answers."""

import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean, median
from typing import TYPE_CHECKING

from adapters.lookup import Lookup
from eval.retrieval_metrics import reciprocal_rank
from eval.tune_cases import Case
from indexer.domain import RetrievalSettings

if TYPE_CHECKING:
    from indexer.search.ranking import Question

_DIVERSITY = 0.3
_PASSAGES = (2, 3, 5, 8)


@dataclass(frozen=True, slots=True)
class Measured:
    """One way of retrieval: for each case whether, and one over the place where, it was found."""

    name: str
    settings: RetrievalSettings
    found: tuple[bool, ...]
    ranks: tuple[float, ...]
    milliseconds: float
    characters: float

    @property
    def quality(self) -> tuple[float, float, float]:
        """To be compared: recall, then rank, then brevity."""
        return fmean(self.found), fmean(self.ranks), -self.characters


def measure(
    lookup: Lookup, cases: Sequence[Case], asked: "Sequence[Question]", named: "Variant"
) -> Measured:
    """Every case once; the clock runs for the search only, the question is embedded already."""
    found, ranks, took, shown = [], [], [], []
    settings = named.settings.model_copy(update={"min_passage_score": -1.0})
    for case, question in zip(cases, asked, strict=True):
        began = time.perf_counter()
        hits = lookup.retriever.search(question, settings, scorer=lookup.scorer)
        took.append(time.perf_counter() - began)
        right = [case.answered_by(hit.passage.text) for hit in hits]
        found.append(any(right))
        ranks.append(reciprocal_rank(right))
        shown.append(sum(len(hit.passage.text) for hit in hits))
    return Measured(
        named.name,
        named.settings,
        tuple(found),
        tuple(ranks),
        median(took) * 1000,
        fmean(shown),
    )


def measure_all(
    lookup: Lookup, cases: Sequence[Case], asked: "Sequence[Question]", present: RetrievalSettings
) -> list[Measured]:
    """The present settings first, then each mode, then more of the best of these."""
    begin = [Variant("present", present), *modes(present)]
    first = [measure(lookup, cases, asked, named) for named in begin]
    best = max(first, key=lambda one: one.quality)
    more = [measure(lookup, cases, asked, named) for named in refinements(best)]
    return [*first, *more]


@dataclass(frozen=True, slots=True)
class Variant:
    """A way of retrieval to be tried."""

    name: str
    settings: RetrievalSettings


def modes(present: RetrievalSettings) -> Iterator[Variant]:
    """The four rankings, with nothing else."""
    plain = present.model_copy(update={"diversity": 0.0, "neighbours": 0})
    for mode, fusion in (
        ("dense", present.fusion),
        ("lexical", present.fusion),
        ("hybrid", "rrf"),
        ("hybrid", "minmax"),
    ):
        settings = plain.model_copy(update={"mode": mode, "fusion": fusion})
        if settings != present:
            yield Variant(f"{mode} {fusion}" if mode == "hybrid" else mode, settings)


def refinements(best: Measured) -> Iterator[Variant]:
    """One change at a time to what was best."""
    called = best.name
    changes: list[tuple[str, Mapping[str, float]]] = [
        (f"diversity {_DIVERSITY}", {"diversity": _DIVERSITY}),
        ("neighbours 1", {"neighbours": 1}),
        ("neighbours 2", {"neighbours": 2}),
        *((f"passages {k}", {"passages": k}) for k in _PASSAGES),
    ]
    for name, change in changes:
        settings = best.settings.model_copy(update=change)
        if settings != best.settings:
            yield Variant(f"{called}, {name}", settings)
