"""Texts to unit vectors, with the pooling, prefix and number format that the model wants.

Whatever the weights' format and whatever runs them, pooling and normalising happen in float32.
"""

import hashlib
import json
from collections.abc import Generator, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Literal, TypeAlias

import numpy as np
import torch

from indexer.cores import cores
from indexer.domain import EmbedderSettings
from indexer.embedding.backends import open_backend
from indexer.embedding.batching import SameBits, in_order, of_one_length, within_budget
from indexer.embedding.loading import choose_dtype, load
from indexer.embedding.probes import PROBES
from indexer.embedding.weights import library_versions
from indexer.errors import DslmError
from indexer.records import Vectors

Role: TypeAlias = Literal["passage", "question", "query"]
_Tokens: TypeAlias = Sequence[int]

_WINDOW = 4096  # texts that are sorted together
_CHECKPOINT = 64  # texts, about a second on a core
_CPU_BATCH = 8  # more are no faster, and take more memory
_GPU_BATCH_TOKENS = 16_384
_GPU_THREADS = 2  # one launches while the other waits for its vectors


class Embedder:
    """A loaded embedding model, for any number of threads.

    `fingerprint` names everything that decides a vector's bits; `space` only what decides whether
    vectors can be compared: an index made with bf16 on one machine serves fp32 questions, whose
    cosine with it is above .9999. int8 is a space of its own (.994 to .999 on MiniLM).

    On a CPU a vector's bits depend on its text alone. On a GPU texts are padded to `batch_tokens`
    a batch, and the last bits depend on the batch.
    """

    def __init__(
        self,
        settings: EmbedderSettings,
        device: str | None = None,
        batch_tokens: int | None = None,
    ) -> None:
        here = device or ("cuda" if torch.cuda.is_available() else "cpu")
        self.device = here if settings.backend == "torch" else "cpu"
        self.backend = settings.backend
        self.dtype = choose_dtype(settings, self.device)
        if self.device == "cpu":
            torch.set_num_threads(1)  # for each of our threads: many small texts, not one large
        loaded = load(settings, self.device, self.dtype if self.backend == "torch" else "fp32")
        self._tokenizer, self.counter = loaded.tokens, loaded.counter
        parts = loaded.parts
        self._pool, self._padding = parts.pool, parts.padding
        self.revision, self.pooling = loaded.revision, parts.pooling
        self.query_prefix, self.passage_prefix = loaded.query_prefix, loaded.passage_prefix
        self.libraries = library_versions(self.backend)
        self._hidden = open_backend(self.backend, self.dtype, self.device, loaded)
        self._budget = batch_tokens or (0 if self.device == "cpu" else _GPU_BATCH_TOKENS)
        self._threads = cores() if self.device == "cpu" else _GPU_THREADS
        self._batch = self._forward if self._budget else SameBits(self._forward)
        self.max_tokens = self._room(parts.limit)
        self.dimension = int(self._forward([self._tokenizer.encode("probe").ids]).shape[1])
        coarse = ["int8"] if self.dtype == "int8" else []
        self.space = self._digest(_sample(parts.weights), *coarse)
        self.fingerprint = self._fingerprint(settings.name)

    def count_tokens(self, text: str) -> int:
        """The model's own tokens, without those that every text gets."""
        return len(self.counter.encode(text, add_special_tokens=False).ids)

    def embed_queries(self, texts: Sequence[str]) -> Vectors:
        """Questions that look for passages: unit rows [n, dimension]."""
        return self._embed([self.query_prefix + text for text in texts])

    def embed_passages(self, texts: Sequence[str]) -> Vectors:
        """Passages that questions look for: unit rows [n, dimension]."""
        return self._embed([self.passage_prefix + text for text in texts])

    def embed_symmetric(self, texts: Sequence[str]) -> Vectors:
        """Texts compared with their like, question with question: unit rows [n, dimension]."""
        return self._embed(list(texts))

    def embed_question(self, text: str) -> tuple[Vectors, Vectors]:
        """Two vectors [dimension], to find passages and demonstrations; one pass if it suffices."""
        if not self.query_prefix:
            vector = self._embed([text])[0]
            return vector, vector
        for_passages, for_demonstrations = self._embed([self.query_prefix + text, text])
        return for_passages, for_demonstrations

    def stream(
        self, texts: Sequence[str], role: Role
    ) -> Generator[tuple[list[int], Vectors], None, None]:
        """Rows of `texts` with their unit vectors [rows, dimension], as they are made.

        `passage` is looked for, `query` looks for it, and a `question` is compared with questions.
        Each row comes once, in batches of about `_CHECKPOINT`; leaving the loop ends the work.
        """
        prefix = {"passage": self.passage_prefix, "query": self.query_prefix, "question": ""}[role]
        rows: list[int] = []
        vectors: list[Vectors] = []
        for batch, found in self._batches([prefix + text for text in texts]):
            rows += batch
            vectors.append(found)
            if len(rows) >= _CHECKPOINT:
                yield rows, np.concatenate(vectors)
                rows, vectors = [], []
        if rows:
            yield rows, np.concatenate(vectors)

    def probes(self) -> list[tuple[str, Vectors]]:
        """Texts and what they become, for an index to tell whether it is this embedder again."""
        return list(zip(PROBES, self.embed_symmetric(PROBES), strict=True))

    def _embed(self, texts: Sequence[str]) -> Vectors:
        result = np.empty((len(texts), self.dimension), dtype=np.float32)
        for rows, vectors in self._batches(texts):
            result[rows] = vectors
        return result

    def _batches(self, texts: Sequence[str]) -> Iterator[tuple[list[int], Vectors]]:
        """Windows are tokenised ahead of the model, each by one call."""
        if len(texts) == 1:  # a question: threads would only keep it waiting
            yield [0], self._batch(self._tokenise(texts))
            return
        starts = range(0, len(texts), _WINDOW)
        windows = in_order(lambda at: self._tokenise(texts[at : at + _WINDOW]), starts, 1)
        for start, window in zip(starts, windows, strict=True):
            batches = self._plan([len(ids) for ids in window])
            work = ([window[row] for row in rows] for rows in batches)
            made = in_order(self._batch, work, min(self._threads, len(batches)))
            for rows, vectors in zip(batches, made, strict=True):
                yield [start + row for row in rows], vectors

    def _plan(self, lengths: Sequence[int]) -> list[list[int]]:
        if self._budget:
            return within_budget(lengths, self._budget)
        return of_one_length(lengths, 1 if self._hidden.alone else _CPU_BATCH)

    def _tokenise(self, texts: Sequence[str]) -> list[_Tokens]:
        return [encoding.ids for encoding in self._tokenizer.encode_batch_fast(list(texts))]

    def _forward(self, batch: Sequence[_Tokens]) -> Vectors:
        longest = max(len(ids) for ids in batch)
        numbers = np.full((len(batch), longest), self._padding, dtype=np.int64)
        mask = np.zeros((len(batch), longest), dtype=np.int64)
        for row, ids in enumerate(batch):
            numbers[row, : len(ids)] = ids
            mask[row, : len(ids)] = 1
        with torch.inference_mode():
            hidden = self._hidden(numbers, mask)
            pooled = self._pool(hidden, torch.from_numpy(mask).to(hidden.device)).float()
            vectors: Vectors = torch.nn.functional.normalize(pooled, dim=-1).cpu().numpy()
        return _checked(vectors)

    def _room(self, limit: int) -> int:
        special = len(self.counter.encode("").ids)
        prefix = max(self.count_tokens(self.query_prefix), self.count_tokens(self.passage_prefix))
        return limit - special - prefix

    def _digest(self, *parts: str) -> str:
        how = (self.pooling, self.query_prefix, self.passage_prefix, self.max_tokens, "normalised")
        return hashlib.sha256(json.dumps([*how, *parts]).encode()).hexdigest()[:16]

    def _fingerprint(self, name: str) -> str:
        versions = json.dumps(self.libraries, sort_keys=True)
        digest = self._digest(self.space, self.dtype, self.device, self.backend, versions)
        return f"{Path(name).name}/{self.dtype}/{self.pooling}/{self.dimension}/{digest}"


def _sample(weights: Mapping[str, torch.Tensor]) -> str:
    """Tells two trainings of the same architecture apart without reading every weight."""
    digest = hashlib.sha256()
    for name, values in weights.items():
        sample = values.detach().flatten()[:64].to(torch.bfloat16).float().cpu().numpy()
        digest.update(name.encode() + sample.tobytes())
    return digest.hexdigest()


def _checked(vectors: Vectors) -> Vectors:
    norms = np.linalg.norm(vectors, axis=1)
    if not np.all(np.abs(norms - 1.0) < 1e-3):
        raise DslmError(
            "The embedding model gave a vector that is not finite or has no length",
            'Set `embedder.dtype` = "fp32", or use another embedding model',
        )
    return vectors
