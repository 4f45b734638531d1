"""Where the work of a job is done: here, or (another Runner) on many machines.

A runner reads and embeds; it writes nothing. What it gives back, and so every byte of a snapshot,
does not depend on which one it is.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from queue import Empty, SimpleQueue
from typing import TYPE_CHECKING, Literal, Protocol

from indexer.domain import Domain, EmbedderSettings
from indexer.reading.walk import SourceFile
from indexer.records import Vectors
from indexer.store.pieces import Key

if TYPE_CHECKING:
    from indexer.reading.reader import Reading

Role = Literal["passage", "question"]
Text = tuple[Key, str]
Embedded = list[tuple[Key, Vectors]]

_FIRST_WINDOW = 1024
_WINDOW = 4096
_AHEAD = 2
_POLL_SECONDS = 0.1


class TextEmbedder(Protocol):
    """What indexing needs of indexer.embedding.embedder.Embedder."""

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

    def count_tokens(self, text: str) -> int: ...

    def stream(
        self, texts: Sequence[str], role: Literal["passage", "question", "query"]
    ) -> Iterator[tuple[list[int], Vectors]]: ...

    def probes(self) -> list[tuple[str, Vectors]]: ...


class Runner(Protocol):
    """Both give results as they are ready, and take from their input no more than they need."""

    def read(self, domain: Domain, files: Iterable[SourceFile]) -> Iterator["Reading"]:
        """One reading per file, in the order given."""
        ...

    def embed(
        self,
        texts: Iterator[Text],
        role: Role,
        settings: EmbedderSettings,
        embedder: TextEmbedder,
        waiting: Callable[[], None],
    ) -> Iterator[Embedded]:
        """Each text once, in any order; empty batches may come too.

        `settings` are for who loads models elsewhere, `embedder` is the one that is loaded here.
        `waiting` is called at least every 0.1 s while the caller waits; what it raises ends it.
        """
        ...


class LocalRunner:
    """Reads in worker processes and embeds in a thread, while the caller splits and writes."""

    def read(self, domain: Domain, files: Iterable[SourceFile]) -> Iterator["Reading"]:
        from indexer.reading.reader import ReaderPool

        with ReaderPool(domain) as pool:
            yield from pool.read(files)

    def embed(
        self,
        texts: Iterator[Text],
        role: Role,
        settings: EmbedderSettings,
        embedder: TextEmbedder,
        waiting: Callable[[], None],
    ) -> Iterator[Embedded]:
        windows = _Windows(embedder, role)
        try:
            for text in texts:
                windows.add(text)
                yield from windows.ready()
                while windows.full():
                    yield windows.next(waiting)
            windows.start()
            while not windows.empty():
                yield windows.next(waiting)
        finally:
            windows.close()


class _Windows:
    """Texts gathered to windows, of which one is embedded and the next ones wait.

    A window is large, so that texts of one length meet; the first is smaller, so that work begins.
    """

    def __init__(self, embedder: TextEmbedder, role: Role) -> None:
        self._embedder = embedder
        self._role = role
        self._thread = ThreadPoolExecutor(1, "embed")
        self._gathered: list[Text] = []
        self._size = _FIRST_WINDOW
        self._results: SimpleQueue[Embedded] = SimpleQueue()
        self._open: list[Future[None]] = []
        self._stopped = False

    def add(self, text: Text) -> None:
        self._gathered.append(text)
        if len(self._gathered) >= self._size:
            self.start()

    def start(self) -> None:
        if self._gathered:
            self._open.append(self._thread.submit(self._embed, self._gathered))
            self._gathered = []
            self._size = _WINDOW

    def full(self) -> bool:
        self._settle()
        return len(self._open) > _AHEAD

    def empty(self) -> bool:
        self._settle()
        return not self._open and self._results.empty()

    def ready(self) -> Iterator[Embedded]:
        """What can be had without waiting."""
        while not self._results.empty():
            yield self._results.get()

    def next(self, waiting: Callable[[], None]) -> Embedded:
        """The next batch, or an empty one after a while."""
        waiting()
        try:
            return self._results.get(timeout=_POLL_SECONDS)
        except Empty:
            return []

    def close(self) -> None:
        self._stopped = True
        self._thread.shutdown(wait=True, cancel_futures=True)

    def _settle(self) -> None:
        """Windows that are done; an error in one is raised here."""
        while self._open and self._open[0].done():
            self._open.pop(0).result()

    def _embed(self, window: list[Text]) -> None:
        texts = [text for _, text in window]
        for rows, vectors in self._embedder.stream(texts, self._role):
            keys = [window[row][0] for row in rows]
            self._results.put(list(zip(keys, vectors, strict=True)))
            if self._stopped:
                return
