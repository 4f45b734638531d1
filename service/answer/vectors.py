"""Texts to vectors for a caller: the embedding models that the domains use anyway.

Texts of all callers gather to batches while the model is at work; each takes its turn, so that a
large request does not keep a small one waiting, and questions to the domains come in between.
"""

import asyncio
import base64
from collections import deque
from dataclasses import dataclass, field
from typing import Annotated, Any, Literal

import numpy as np
from pydantic import Field, model_validator

from indexer.domain import EmbedderSettings
from indexer.records import Vectors
from service.answer.body import LONGEST_NAME, Body
from service.answer.embedding import Embedders, QuestionEmbedder
from service.answer.releases import Releases
from service.errors import (
    ContextLengthExceeded,
    InvalidRequest,
    Overloaded,
    UnknownDomain,
    Unsupported,
)

MOST_TEXTS = 2048
MOST_WAITING = 4 * MOST_TEXTS
BATCH = 32
TURN = 8

Text = Annotated[str, Field(min_length=1)]


class EmbeddingRequest(Body):
    """POST /v1/embeddings. `input_type` is ours: some models embed questions in another way."""

    model: Annotated[str, Field(min_length=1, max_length=LONGEST_NAME)]
    input: Text | Annotated[list[Text], Field(min_length=1, max_length=MOST_TEXTS)]
    encoding_format: Literal["float", "base64"] | None = None
    dimensions: Annotated[int, Field(ge=1)] | None = None
    input_type: Literal["passage", "query"] | None = None
    # Accepted because clients send it; it changes nothing here.
    user: str | None = None

    @model_validator(mode="before")
    @classmethod
    def _no_tokens(cls, value: Any) -> Any:
        texts = value.get("input") if isinstance(value, dict) else None
        if isinstance(texts, list) and texts and isinstance(texts[0], int | list):
            message = "Arrays of tokens are not supported: a token means something else to a model"
            raise Unsupported(message, "Send the text", param="input")
        return value

    def texts(self) -> list[str]:
        return [self.input] if isinstance(self.input, str) else list(self.input)


@dataclass(slots=True, eq=False)
class Job:
    """The texts of one request; `at`: how many have been taken, `rows`: what came of them."""

    texts: list[str]
    done: asyncio.Future[Vectors]
    at: int = 0
    rows: list[Vectors] = field(default_factory=list)


class PassageBatches:
    """One embedding model's line of texts that are not questions."""

    def __init__(self, embedder: QuestionEmbedder) -> None:
        self._embedder = embedder
        self._jobs: deque[Job] = deque()
        self._waiting = 0
        self._at_work: asyncio.Task[None] | None = None

    async def embed(self, texts: list[str]) -> Vectors:
        """Unit rows `[n, dimension]`. Overloaded while too many wait."""
        if self._waiting + len(texts) > MOST_WAITING:
            raise Overloaded(f"{self._waiting} texts wait already", "Try again", retry_after=5)
        job = Job(texts, asyncio.get_running_loop().create_future())
        self._jobs.append(job)
        self._waiting += len(texts)
        if self._at_work is None or self._at_work.done():
            self._at_work = asyncio.create_task(self._work())
        return await job.done

    async def _work(self) -> None:
        while batch := self._take():
            texts = [text for job, start, end in batch for text in job.texts[start:end]]
            try:
                rows = await asyncio.to_thread(self._embedder.embed_now, texts)
            except Exception as error:  # every waiting caller must hear of it
                for job, _, _ in batch:
                    self._fail(job, error)
                continue
            self._give(batch, rows)

    def _take(self) -> list[tuple[Job, int, int]]:
        """Up to a batch, a few texts from each job in turn; whose caller has left is skipped."""
        batch: list[tuple[Job, int, int]] = []
        room = BATCH
        while self._jobs and room:
            job = self._jobs.popleft()
            if job.done.done():
                self._waiting -= len(job.texts) - job.at
                continue
            end = min(job.at + min(TURN, room), len(job.texts))
            batch.append((job, job.at, end))
            room -= end - job.at
            self._waiting -= end - job.at
            job.at = end
            if end < len(job.texts):
                self._jobs.append(job)
        return batch

    @staticmethod
    def _give(batch: list[tuple[Job, int, int]], rows: Vectors) -> None:
        at = 0
        for job, start, end in batch:
            job.rows.append(rows[at : at + end - start])
            at += end - start
            if sum(map(len, job.rows)) == len(job.texts) and not job.done.done():
                job.done.set_result(np.concatenate(job.rows))

    @staticmethod
    def _fail(job: Job, error: Exception) -> None:
        if not job.done.done():
            job.done.set_exception(error)


class TextEmbeddings:
    """Answers to POST /v1/embeddings."""

    def __init__(self, releases: Releases, embedders: Embedders) -> None:
        self._releases = releases
        self._embedders = embedders
        self._batches: dict[EmbedderSettings, PassageBatches] = {}

    def domains_of(self, name: str) -> list[str]:
        """The domains that use the embedding model of this name; none if it is no such name."""
        live = self._releases.live().items()
        return [domain for domain, release in live if release.embedder.settings.name == name]

    async def answer(self, request: EmbeddingRequest) -> dict[str, Any]:
        """OpenAI's list of embeddings; `usage` counts the model's own tokens."""
        settings = await self._settings(request.model)
        embedder = await self._embedders.get(settings)
        texts = request.texts()
        if request.dimensions not in (None, embedder.embedder.dimension):
            raise Unsupported(
                f"`dimensions` = {request.dimensions} is not supported by {settings.name}",
                f"It has {embedder.embedder.dimension}, leave the field out",
                param="dimensions",
            )
        tokens = await asyncio.to_thread(_count, embedder, texts)
        rows = await self._rows(settings, embedder, texts, request.input_type == "query")
        write = _base64 if request.encoding_format == "base64" else _floats
        cards = [
            {"object": "embedding", "index": index, "embedding": write(row)}
            for index, row in enumerate(rows)
        ]
        usage = {"prompt_tokens": tokens, "total_tokens": tokens}
        return {"object": "list", "model": request.model, "data": cards, "usage": usage}

    async def _settings(self, name: str) -> EmbedderSettings:
        for domain in self.domains_of(name):
            return self._releases.live()[domain].embedder.settings
        try:
            async with self._releases.lease(name) as opened:
                return opened.release.embedder.settings
        except UnknownDomain as error:
            known = ", ".join(self._releases.domains) or "none"
            message = f"There is no domain or embedding model '{name}'"
            raise UnknownDomain(message, f"Domains: {known}", param="model") from error

    async def _rows(
        self, settings: EmbedderSettings, embedder: QuestionEmbedder, texts: list[str], ask: bool
    ) -> Vectors:
        if ask:
            found = await asyncio.gather(*(embedder.embed(text) for text in texts))
            return np.stack([to_passages for to_passages, _ in found])
        if settings not in self._batches:
            self._batches[settings] = PassageBatches(embedder)
        return await self._batches[settings].embed(texts)


def _count(embedder: QuestionEmbedder, texts: list[str]) -> int:
    """Tokens of all texts; the first that the model cannot read whole is an error."""
    most = embedder.embedder.max_tokens
    tokens = 0
    for number, text in enumerate(texts):
        if not text.strip():
            raise InvalidRequest("An input is empty", "Leave it out", param=f"input[{number}]")
        count = embedder.embedder.count_tokens(text)
        if count > most:
            raise ContextLengthExceeded(
                f"An input has {count} tokens, the model reads {most}",
                "Split it",
                param=f"input[{number}]",
            )
        tokens += count
    return tokens


def _floats(row: Vectors) -> list[float]:
    return [float(value) for value in row]


def _base64(row: Vectors) -> str:
    """Little-endian float32, as OpenAI's clients read it."""
    return base64.b64encode(row.astype("<f4").tobytes()).decode()
