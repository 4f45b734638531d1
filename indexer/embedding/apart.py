"""An embedding model in a process of its own, so that loading it keeps nobody waiting.

Python runs one thread at a time, and importing torch takes more than a second of it: a job reads
and writes meanwhile. Ends with the thread that started it.
"""

import os
import subprocess
import sys
from collections.abc import Generator, Sequence
from dataclasses import dataclass
from multiprocessing.connection import Pipe
from pathlib import Path
from typing import TYPE_CHECKING, Literal, Self, TypeAlias

import numpy as np
from tokenizers import Tokenizer

from indexer.domain import EmbedderSettings
from indexer.embedding.probes import PROBES
from indexer.embedding.small_caches import SMALL_CACHES
from indexer.errors import DslmError
from indexer.records import Vectors

if TYPE_CHECKING:
    from indexer.embedding.embedder import Embedder

Role: TypeAlias = Literal["passage", "question", "query"]

_ROOT = Path(__file__).resolve().parents[2]


@dataclass(frozen=True, slots=True)
class Described:
    """What an embedder says of itself; `tokenizer` is the one that counts, as JSON."""

    dtype: str
    fingerprint: str
    space: str
    dimension: int
    max_tokens: int
    pooling: str
    query_prefix: str
    passage_prefix: str
    revision: str
    libraries: dict[str, str]
    tokenizer: str

    @classmethod
    def of(cls, embedder: "Embedder") -> Self:
        e = embedder
        return cls(
            dtype=e.dtype,
            fingerprint=e.fingerprint,
            space=e.space,
            dimension=e.dimension,
            max_tokens=e.max_tokens,
            pooling=e.pooling,
            query_prefix=e.query_prefix,
            passage_prefix=e.passage_prefix,
            revision=e.revision,
            libraries=e.libraries,
            tokenizer=e.counter.to_str(),
        )


class Process:
    """It starts with this; `arrived` says when the model is loaded, then `embedder` is it."""

    def __init__(self, settings: EmbedderSettings) -> None:
        self._connection, its = Pipe()
        with its:
            end = its.fileno()
            self._child = subprocess.Popen(
                [sys.executable, "-m", "indexer.embedding.host", str(end), str(os.getpid())],
                cwd=_ROOT,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                # Each thread's part of the heap would keep what is freed.
                env={"MALLOC_ARENA_MAX": "1", **SMALL_CACHES, **os.environ},
                pass_fds=[end],
            )
        self.send(settings)

    @property
    def pid(self) -> int:
        return self._child.pid

    def arrived(self, seconds: float) -> bool:
        """Whether it has something to say, after waiting so long at most."""
        return self._connection.poll(seconds)

    def embedder(self) -> "ApartEmbedder":
        """What it holds; DslmError if it could not be loaded."""
        described = self.receive()
        assert isinstance(described, Described)
        return ApartEmbedder(described, self)

    def send(self, message: object) -> None:
        try:
            self._connection.send(message)
        except OSError as error:
            raise self._gone() from error

    def receive(self) -> object:
        """Its next word; an error of its own is raised here."""
        try:
            said = self._connection.recv()
        except (EOFError, OSError) as error:
            raise self._gone() from error
        if isinstance(said, DslmError):
            raise said
        return said

    def close(self) -> None:
        """Idempotent; whatever it is doing, it ends now."""
        self._child.kill()
        self._child.wait()
        self._connection.close()

    def _gone(self) -> DslmError:
        code = self._child.wait() if self._child.poll() is None else self._child.returncode
        return DslmError(
            f"The process that embeds ended (exit code {code})",
            "Start the job again, it goes on from there; -9 is a lack of memory",
        )


class ApartEmbedder:
    """Stands for the embedder in that process: see `indexer.job.runner.TextEmbedder`."""

    def __init__(self, described: Described, process: Process) -> None:
        self.dtype = described.dtype
        self.fingerprint = described.fingerprint
        self.space = described.space
        self.dimension = described.dimension
        self.max_tokens = described.max_tokens
        self.pooling = described.pooling
        self.query_prefix = described.query_prefix
        self.passage_prefix = described.passage_prefix
        self.revision = described.revision
        self.libraries = described.libraries
        self._counter: Tokenizer = Tokenizer.from_str(described.tokenizer)
        self._process = process

    def count_tokens(self, text: str) -> int:
        """The model's own tokens, without those that every text gets."""
        return len(self._counter.encode(text, add_special_tokens=False).ids)

    def stream(
        self, texts: Sequence[str], role: Role
    ) -> Generator[tuple[list[int], Vectors], None, None]:
        """As of the embedder itself; leaving the loop ends the process."""
        self._process.send((list(texts), role))
        whole = False
        try:
            while isinstance(batch := self._process.receive(), tuple):
                yield batch
            whole = True
        finally:
            if not whole:
                self._process.close()

    def probes(self) -> list[tuple[str, Vectors]]:
        """Texts and what they become."""
        found = np.empty((len(PROBES), self.dimension), dtype=np.float32)
        for rows, vectors in self.stream(PROBES, "question"):
            found[rows] = vectors
        return list(zip(PROBES, found, strict=True))
