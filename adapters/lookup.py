"""The live snapshot of a domain, opened to be asked directly: no service and no engine."""

import contextlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from adapters.release import Release
from indexer.errors import StoreError
from indexer.settings import Paths

if TYPE_CHECKING:
    from indexer.embedding.embedder import Embedder
    from indexer.search.ranking import Question
    from indexer.search.rerank import Scorer
    from indexer.search.retriever import Retriever
    from indexer.store.manifest import EmbedderMark


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
    """For the block. StoreError if the snapshot cannot be read, or was embedded otherwise."""
    from indexer.embedding.embedder import Embedder  # takes seconds
    from indexer.search.rerank import load_scorer
    from indexer.search.retriever import Retriever
    from indexer.store.snapshot import open_snapshot
    from indexer.store.tombstones import Tombstones, hidden_in

    snapshot = open_snapshot(paths.snapshot(release.domain, release.snapshot))
    hidden = hidden_in(Tombstones(paths.tombstones(release.domain)), snapshot)
    with contextlib.closing(Retriever(snapshot, hidden)) as retriever:
        pinned, wanted = release.demonstration_embedder, release.retrieval.rerank
        embedder = Embedder(release.embedder.settings)
        other = Embedder(pinned.settings) if pinned else None
        _check(snapshot.manifest.embedder, embedder, release)
        _check(snapshot.manifest.for_demonstrations(), other or embedder, release)
        yield Lookup(release, retriever, embedder, other, load_scorer(wanted) if wanted else None)


def _check(made: "EmbedderMark", embedder: "Embedder", release: Release) -> None:
    from indexer.embedding.probes import mismatch

    if reason := mismatch(made, embedder):
        raise StoreError(
            f"{release.domain} was indexed with another {made.name} than is loaded now: {reason}",
            f"Run `dslm index {release.domain}`",
        )
