"""What a question finds in its domain: passages and demonstrations, off the event loop."""

import asyncio
import time
from dataclasses import dataclass

from indexer.records import Demonstration, Passage, Vectors
from indexer.search.quoting import Quote, best_sentences
from service.answer.embedding import Embedders, QuestionEmbedder
from service.answer.releases import OpenRelease
from service.answer.request import Switches
from service.errors import Unavailable

QUOTES = 2


@dataclass(frozen=True, slots=True)
class Found:
    """Passages (best first) and demonstrations (most similar last), and what it took."""

    passages: tuple[Passage, ...] = ()
    demonstrations: tuple[Demonstration, ...] = ()
    vector: Vectors | None = None
    seconds: float = 0.0


NOTHING = Found()


class Retrieval:
    """Embeds a question once and searches its release's snapshot twice."""

    def __init__(self, embedders: Embedders) -> None:
        self._embedders = embedders

    async def find(self, question: str, opened: OpenRelease, wanted: Switches) -> Found:
        """What the release's settings allow and the request has not switched off."""
        settings = opened.release.retrieval
        passages = settings.passages if wanted.passages else 0
        demonstrations = settings.demonstrations if wanted.demonstrations else 0
        if not passages and not demonstrations:
            return NOTHING
        began = time.perf_counter()
        embedder = await self._embedder(opened)
        to_passages, to_questions = await embedder.embed(question)
        found, solved = await asyncio.to_thread(
            lambda: (
                opened.retriever.passages(to_passages, passages, settings.min_passage_score)
                if passages
                else [],
                opened.retriever.demonstrations(
                    to_questions, demonstrations, settings.min_demonstration_score
                )
                if demonstrations
                else [],
            )
        )
        took = time.perf_counter() - began
        return Found(tuple(found), tuple(solved), to_passages, took)

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

    async def _embedder(self, opened: OpenRelease) -> QuestionEmbedder:
        embedder = await self._embedders.get(opened.release.embedder.settings)
        indexed = opened.retriever.snapshot.manifest.embedder.space
        if indexed != embedder.embedder.space:
            raise Unavailable(
                f"{opened.label} was indexed with another embedding model than "
                f"{opened.release.embedder.settings.name} is now",
                f"Run `dslm index {opened.release.domain}`",
            )
        return embedder
