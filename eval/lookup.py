"""The live snapshot of a domain, opened to be asked directly: no service and no engine."""

import contextlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from adapters.release import Release
from indexer.settings import Paths

if TYPE_CHECKING:
    from indexer.embedding.embedder import Embedder
    from indexer.search.ranking import Question
    from indexer.search.rerank import Scorer
    from indexer.search.retriever import Retriever


@dataclass(frozen=True, slots=True)
class Lookup:
    """A retriever with the embedding models that its snapshot wants, and its cross-encoder."""

    release: Release
    retriever: "Retriever"
    embedder: "Embedder"
    other: "Embedder | None"  # of the demonstrations, where they have their own
    scorer: "Scorer | None"

    def ask(self, texts: Sequence[str]) -> "list[Question]":
        """Questions as the service would look them up."""
        from indexer.search.ranking import Question

        vectors = self.embedder.embed_queries(texts)
        alike = (self.other or self.embedder).embed_symmetric(texts)
        return [Question(*one) for one in zip(texts, vectors, alike, strict=True)]


@contextlib.contextmanager
def open_lookup(paths: Paths, release: Release) -> Iterator[Lookup]:
    """For the block. StoreError if the snapshot cannot be read."""
    from indexer.embedding.embedder import Embedder  # takes seconds
    from indexer.search.rerank import load_scorer
    from indexer.search.retriever import Retriever
    from indexer.store.snapshot import open_snapshot
    from indexer.store.tombstones import Tombstones, hidden_in

    snapshot = open_snapshot(paths.snapshot(release.domain, release.snapshot))
    hidden = hidden_in(Tombstones(paths.tombstones(release.domain)), snapshot)
    with contextlib.closing(Retriever(snapshot, hidden)) as retriever:
        pinned = release.demonstration_embedder
        yield Lookup(
            release,
            retriever,
            Embedder(release.embedder.settings),
            Embedder(pinned.settings) if pinned else None,
            load_scorer(release.retrieval.rerank) if release.retrieval.rerank else None,
        )
