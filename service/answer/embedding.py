"""Embeds questions off the event loop, several at a time when several wait."""

import asyncio
from concurrent.futures import ThreadPoolExecutor

from indexer.domain import EmbedderSettings
from indexer.embedding.embedder import Embedder
from indexer.records import Vectors

LARGEST_BATCH = 32


class QuestionEmbedder:
    """One embedding model on one thread. While it is at work, questions gather to a batch."""

    def __init__(self, embedder: Embedder) -> None:
        self.embedder = embedder
        self._thread = ThreadPoolExecutor(1, "embedder")
        self._waiting: list[tuple[str, asyncio.Future[tuple[Vectors, Vectors]]]] = []
        self._at_work: asyncio.Task[None] | None = None

    async def embed(self, question: str) -> tuple[Vectors, Vectors]:
        """Unit vectors `[dimension]` to search passages and demonstrations with, in this order."""
        future: asyncio.Future[tuple[Vectors, Vectors]] = asyncio.get_running_loop().create_future()
        self._waiting.append((question, future))
        if self._at_work is None or self._at_work.done():
            self._at_work = asyncio.create_task(self._work())
        return await future

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
            try:
                rows = await loop.run_in_executor(self._thread, self._embed, texts)
            except Exception as error:  # every waiting question must hear of it
                self._fail(batch, error)
                continue
            for (_, future), row in zip(batch, rows, strict=True):
                if not future.done():
                    future.set_result(row)

    def _embed(self, texts: list[str]) -> list[tuple[Vectors, Vectors]]:
        queries = self.embedder.embed_queries(texts)
        alike = queries
        if self.embedder.query_prefix:
            alike = self.embedder.embed_symmetric(texts)
        return list(zip(queries, alike, strict=True))

    @staticmethod
    def _fail(
        batch: list[tuple[str, asyncio.Future[tuple[Vectors, Vectors]]]], error: Exception
    ) -> None:
        for _, future in batch:
            if not future.done():
                future.set_exception(error)


class Embedders:
    """The embedding models in use, each loaded once, for the first release that wants it."""

    def __init__(self) -> None:
        self._loaded: dict[EmbedderSettings, QuestionEmbedder] = {}
        self._loading = asyncio.Lock()

    async def get(self, settings: EmbedderSettings) -> QuestionEmbedder:
        if settings not in self._loaded:
            async with self._loading:
                if settings not in self._loaded:
                    embedder = await asyncio.to_thread(Embedder, settings)
                    self._loaded[settings] = QuestionEmbedder(embedder)
        return self._loaded[settings]

    def close(self) -> None:
        for embedder in self._loaded.values():
            embedder.close()
