"""What a question finds in its domain: passages and demonstrations, off the event loop."""

import asyncio
import time
from dataclasses import dataclass
from typing import Any

from adapters.pins import EmbedderPin
from indexer.domain import EmbedderSettings, RetrievalSettings
from indexer.embedding.probes import mismatch
from indexer.errors import BadInput
from indexer.records import Demonstration, Passage, Vectors
from indexer.search.filters import Filter, parse_filter
from indexer.search.quoting import Quote, best_sentences
from indexer.search.ranking import Question
from indexer.search.rerank import Scorer
from indexer.search.retriever import Hit
from indexer.store.manifest import EmbedderMark
from service.answer.embedding import Embedders, QuestionEmbedder
from service.answer.releases import OpenRelease
from service.answer.request import Switches
from service.answer.rerankers import Rerankers
from service.errors import InvalidRequest, Unavailable

QUOTES = 2


@dataclass(frozen=True, slots=True)
class Found:
    """Passages (best first) and demonstrations (most similar last), and what it took."""

    passages: tuple[Passage, ...] = ()
    demonstrations: tuple[Demonstration, ...] = ()
    vector: Vectors | None = None
    seconds: float = 0.0
    hits: tuple[Hit, ...] = ()
    settings: RetrievalSettings | None = None
    embed_seconds: float = 0.0

    def explain(self) -> dict[str, Any]:
        """How each passage came by its place: `order` is the mode's own score."""
        if not self.settings:
            return {}
        told = [
            {
                "chunk": hit.passage.chunk,
                "order": round(hit.order, 4),
                "cosine": round(hit.passage.score, 4),
                "lexical": None if hit.lexical is None else round(hit.lexical, 4),
            }
            for hit in self.hits
        ]
        how = self.settings.model_dump(include={"mode", "fusion", "rerank", "diversity"})
        return {**how, "hits": told}


NOTHING = Found()


class Retrieval:
    """Embeds a question once for each embedding model and searches its release's snapshot twice."""

    def __init__(self, embedders: Embedders) -> None:
        self._embedders = embedders
        self._rerankers = Rerankers()
        self._fit: set[tuple[str, EmbedderSettings]] = set()  # compared once for each snapshot

    async def find(self, question: str, opened: OpenRelease, wanted: Switches) -> Found:
        """What the release's settings allow and the request has not switched off."""
        settings = opened.release.retrieval
        off: dict[str, int] = {} if wanted.passages else {"passages": 0}
        off |= {} if wanted.demonstrations else {"demonstrations": 0}
        settings = settings.model_copy(update=off)
        conditions = _conditions(wanted)
        if not settings.passages and not settings.demonstrations:
            return NOTHING
        began = time.perf_counter()
        asked, scorer = await asyncio.gather(
            self._embed(question, opened), self._rerankers.get(settings)
        )
        embedded = time.perf_counter() - began
        found = await asyncio.to_thread(_search, opened, asked, settings, conditions, scorer)
        hits, solved = found
        took = time.perf_counter() - began
        passages = tuple(hit.passage for hit in hits)
        return Found(passages, tuple(solved), asked.vector, took, tuple(hits), settings, embedded)

    async def quote(self, question: str, opened: OpenRelease, found: Found) -> list[Quote]:
        """The best sentences of what was found, without any engine."""
        if not found.passages:
            return []
        assert found.vector is not None
        embedder = await self._embedder(opened)
        quotes = await asyncio.to_thread(
            best_sentences, question, found.passages, embedder.embed_now, found.vector, QUOTES
        )
        least = opened.release.retrieval.min_quote_score
        return [quote for quote in quotes if quote.score >= least]

    async def _embed(self, question: str, opened: OpenRelease) -> Question:
        embedder, pinned = await self._embedder(opened), opened.release.demonstration_embedder
        if not pinned:
            return Question(question, *await embedder.embed(question))
        made = opened.retriever.snapshot.manifest.for_demonstrations()
        other = await self._fitting(opened, pinned, made)
        mine, theirs = await asyncio.gather(embedder.embed(question), other.embed(question))
        return Question(question, mine[0], theirs[1])

    async def _embedder(self, opened: OpenRelease) -> QuestionEmbedder:
        made = opened.retriever.snapshot.manifest.embedder
        return await self._fitting(opened, opened.release.embedder, made)

    async def _fitting(
        self, opened: OpenRelease, pinned: EmbedderPin, made: EmbedderMark
    ) -> QuestionEmbedder:
        """The loaded model; Unavailable, with the reason, where it embeds otherwise than then."""
        embedder = await self._embedders.get(pinned.settings)
        pair = (opened.release.snapshot, pinned.settings)
        if pair not in self._fit:
            reason = await asyncio.to_thread(mismatch, made, embedder.embedder)
            if reason:
                raise Unavailable(
                    f"{opened.label} was indexed with another embedding model than {made.name} is"
                    f" now: {reason}",
                    f"Run `dslm index {opened.release.domain}`",
                )
            self._fit.add(pair)
        return embedder


def _conditions(wanted: Switches) -> Filter | None:
    try:
        return parse_filter(wanted.filter or {})
    except BadInput as error:
        raise InvalidRequest(error.message, error.remedy, param="dslm.filter") from error


def _search(
    opened: OpenRelease,
    asked: Question,
    settings: RetrievalSettings,
    conditions: Filter | None,
    scorer: Scorer | None,
) -> tuple[list[Hit], list[Demonstration]]:
    """Blocks, so only for a worker thread."""
    try:
        hits = opened.retriever.search(asked, settings, conditions, scorer)
    except BadInput as error:  # the filter names a field that this snapshot does not have
        raise InvalidRequest(error.message, error.remedy, param="dslm.filter") from error
    assert asked.similar is not None
    solved = opened.retriever.demonstrations(
        asked.similar, settings.demonstrations, settings.min_demonstration_score
    )
    return hits, solved
