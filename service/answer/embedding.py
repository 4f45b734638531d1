"""Embeds questions off the event loop, several at a time when several wait, none twice."""

import asyncio
import contextlib
import hashlib
from collections import OrderedDict
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

from adapters.release import Release
from indexer.domain import EmbedderSettings
from indexer.errors import DslmError
from indexer.records import Vectors
from service.telemetry import Telemetry

if TYPE_CHECKING:
    from indexer.embedding.embedder import Embedder

LARGEST_BATCH = 32
KEPT_QUESTIONS = 2048
Pair = tuple[Vectors, Vectors]


class QuestionEmbedder:
    """One embedding model on one thread. While it is at work, questions gather to a batch.

    The vectors of the last questions are kept: clients ask again, and two releases are asked alike.
    """

    def __init__(self, embedder: "Embedder", telemetry: Telemetry | None = None) -> None:
        telemetry = telemetry or Telemetry()
        self.embedder = embedder
        self._queries = telemetry.cache_queries.labels("questions")
        self._hits = telemetry.cache_hits.labels("questions")
        self._batches = telemetry.batches
        self._thread = ThreadPoolExecutor(1, "embedder")
        self._waiting: list[tuple[str, asyncio.Future[Pair]]] = []
        self._at_work: asyncio.Task[None] | None = None
        self._kept: OrderedDict[bytes, Pair] = OrderedDict()

    async def embed(self, question: str) -> Pair:
        """Unit vectors `[dimension]` to search passages and demonstrations with, in this order."""
        # A question may be long: it is known by its digest.
        digest = hashlib.blake2b(question.encode(), digest_size=16).digest()
        self._queries.inc()
        if (found := self._kept.get(digest)) is not None:
            self._hits.inc()
            self._kept.move_to_end(digest)
            return found
        future: asyncio.Future[Pair] = asyncio.get_running_loop().create_future()
        self._waiting.append((question, future))
        if self._at_work is None or self._at_work.done():
            self._at_work = asyncio.create_task(self._work())
        self._kept[digest] = pair = await future
        if len(self._kept) > KEPT_QUESTIONS:
            self._kept.popitem(last=False)
        return pair

    def embed_now(self, texts: list[str]) -> Vectors:
        """Unit rows `[n, dimension]` for sentences; blocks, so only for a worker thread."""
        return self._thread.submit(self.embedder.embed_passages, texts).result()

    def close(self) -> None:
        self._thread.shutdown(wait=False, cancel_futures=True)

    async def _work(self) -> None:
        loop = asyncio.get_running_loop()
        while self._waiting:
            batch, self._waiting = self._waiting[:LARGEST_BATCH], self._waiting[LARGEST_BATCH:]
            texts = [question for question, _ in batch]
            self._batches.observe(len(texts))
            try:
                rows = await loop.run_in_executor(self._thread, self._embed, texts)
            except Exception as error:  # every waiting question must hear of it
                self._fail(batch, error)
                continue
            for (_, future), row in zip(batch, rows, strict=True):
                if not future.done():
                    future.set_result(row)

    def _embed(self, texts: list[str]) -> list[Pair]:
        queries = self.embedder.embed_queries(texts)
        alike = queries
        if self.embedder.query_prefix:
            alike = self.embedder.embed_symmetric(texts)
        # Copies: a row that is kept would keep all of its batch.
        return [(row.copy(), other.copy()) for row, other in zip(queries, alike, strict=True)]

    @staticmethod
    def _fail(batch: list[tuple[str, asyncio.Future[Pair]]], error: Exception) -> None:
        for _, future in batch:
            if not future.done():
                future.set_exception(error)


class Embedders:
    """The embedding models in use, each loaded once, for the first release that wants it."""

    def __init__(self, telemetry: Telemetry | None = None) -> None:
        self._telemetry = telemetry or Telemetry()
        self._loaded: dict[EmbedderSettings, QuestionEmbedder] = {}
        self._loading = asyncio.Lock()

    async def get(self, settings: EmbedderSettings) -> QuestionEmbedder:
        if settings not in self._loaded:
            async with self._loading:
                if settings not in self._loaded:
                    embedder = await asyncio.to_thread(_load, settings)
                    self._loaded[settings] = QuestionEmbedder(embedder, self._telemetry)
        return self._loaded[settings]

    async def warm(self, releases: Iterable[Release]) -> None:
        """Load what these ask with; whatever is in the way is told to whoever asks."""
        for release in releases:
            for pin in filter(None, (release.embedder, release.demonstration_embedder)):
                with contextlib.suppress(DslmError):
                    await self.get(pin.settings)

    def close(self) -> None:
        for embedder in self._loaded.values():
            embedder.close()


def _load(settings: EmbedderSettings) -> "Embedder":
    # Importing torch takes more than a second: the service can listen, and say so, before.
    from indexer.embedding.embedder import Embedder

    return Embedder(settings)
