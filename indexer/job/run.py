"""From a domain's documents to a published snapshot, resumable and never half done.

Chooses no release: whoever runs the job decides what becomes of the snapshot.
"""

import contextlib
import fcntl
import hashlib
import json
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from indexer.domain import Domain
from indexer.embedding.weights import identity
from indexer.errors import BadInput, StoreError
from indexer.job.results import IndexPlan, IndexResult, Progress, silent
from indexer.job.vector_cache import TextEmbedder, embed_texts
from indexer.reading.examples import read_demonstrations
from indexer.reading.sources import READER_VERSION, read_documents
from indexer.records import Chunk, Demonstration, Document, Rejected
from indexer.settings import Paths, store_errors
from indexer.store.catalog import Catalog
from indexer.store.draft import SnapshotContent
from indexer.store.manifest import EmbedderMark, SnapshotManifest
from indexer.store.snapshot import open_snapshot, remove_drafts, write_snapshot
from indexer.text.chunking import CHUNKER_VERSION, split, with_context

__all__ = ["IndexJob", "IndexPlan", "IndexResult", "Progress", "silent"]

_PUBLISHED = "published"


@dataclass(frozen=True, slots=True)
class _Sources:
    """`documents` by path, the demonstrations by id."""

    documents: dict[str, Document]
    rejected: list[Rejected]
    demonstrations: list[Demonstration]


class IndexJob:
    """One run over one domain. Give `embedder` to share a loaded one between domains."""

    def __init__(
        self,
        domain: Domain,
        paths: Paths,
        report: Callable[[Progress], None] = silent,
        embedder: TextEmbedder | None = None,
    ) -> None:
        self._domain = domain
        self._paths = paths
        self._report = report
        self._embedder = embedder
        self._recipe = _recipe(domain)

    def plan(self) -> IndexPlan:
        """Read and compare; writes nothing and loads no embedding model."""
        sources = self._read()
        path = self._paths.catalog(self._domain.name)
        if not path.exists():
            return self._compare(sources, {})
        with Catalog(path) as catalog:
            return self._compare(sources, catalog.known())

    def run(self) -> IndexResult:
        """Index and publish; what is unchanged is not split or embedded again.

        BadInput: no documents, or a bad example. StoreError: the store, or another job runs.
        """
        started = time.monotonic()
        name = self._domain.name
        sources = self._read()
        with _locked(self._paths.domain(name)), Catalog(self._paths.catalog(name)) as catalog:
            remove_drafts(self._paths, name)
            plan = self._compare(sources, catalog.known())
            result = self._published(catalog, sources, plan)
            if result is None:
                result = self._index(catalog, sources, plan)
        seconds = time.monotonic() - started
        return replace(result, rejected=sources.rejected, seconds=seconds)

    def _read(self) -> _Sources:
        documents: dict[str, Document] = {}
        rejected: list[Rejected] = []
        for source in read_documents(self._domain):
            if isinstance(source, Document):
                documents[source.path] = source
            else:
                rejected.append(source)
        if not documents:
            raise BadInput(
                f"None of the {len(rejected)} documents of {self._domain.name!r} can be used:"
                f" {rejected[0].path} {rejected[0].reason}",
                "Put Markdown, HTML or plain text there",
            )
        demonstrations = sorted(read_demonstrations(self._domain), key=lambda d: d.id)
        self._report(Progress("read", len(documents), len(documents)))
        return _Sources(documents, rejected, demonstrations)

    def _compare(self, sources: _Sources, known: dict[str, tuple[str, str]]) -> IndexPlan:
        found = sources.documents
        same = {p for p, d in found.items() if known.get(p) == (d.id, self._recipe)}
        return IndexPlan(
            new=sorted(found.keys() - known.keys()),
            changed=sorted((found.keys() & known.keys()) - same),
            gone=sorted(known.keys() - found.keys()),
            unchanged=sorted(same),
            rejected=sources.rejected,
            demonstrations=len(sources.demonstrations),
        )

    def _published(
        self, catalog: Catalog, sources: _Sources, plan: IndexPlan
    ) -> IndexResult | None:
        """The last run's snapshot, if nothing has changed since: no need to load anything."""
        recipe, snapshot_id = json.loads(catalog.meta(_PUBLISHED) or '["", ""]')
        changed = plan.new or plan.changed or plan.gone
        if changed or recipe != self._recipe or catalog.demonstrations() != sources.demonstrations:
            return None
        try:
            with contextlib.closing(
                open_snapshot(self._paths.snapshot(self._domain.name, snapshot_id))
            ) as snapshot:
                return _result(snapshot_id, snapshot.manifest, embedded=0)
        except StoreError:
            return None

    def _index(self, catalog: Catalog, sources: _Sources, plan: IndexPlan) -> IndexResult:
        embedder = self._embedder or _load_embedder(self._domain)
        _check_room(self._domain, embedder)
        catalog.put_meta(_PUBLISHED, json.dumps(["", ""]))
        self._split(catalog, sources, plan, embedder)
        catalog.put_demonstrations(sources.demonstrations)
        chunks = catalog.chunks()
        vectors = embed_texts(
            catalog,
            embedder,
            _passage_texts(sources.documents, chunks, embedder),
            [demonstration.question for demonstration in sources.demonstrations],
            lambda done, total: self._report(Progress("embed", done, total)),
        )
        content = SnapshotContent(
            self._domain.name,
            [sources.documents[path] for path in sorted(sources.documents)],
            chunks,
            sources.demonstrations,
            vectors.passages,
            vectors.questions,
            _mark(self._domain, embedder),
        )
        self._report(Progress("write", 0, 1))
        snapshot_id = write_snapshot(self._paths, content)
        catalog.put_meta(_PUBLISHED, json.dumps([self._recipe, snapshot_id]))
        self._report(Progress("write", 1, 1))
        return _result(snapshot_id, content.manifest({}), embedded=vectors.new)

    def _split(
        self, catalog: Catalog, sources: _Sources, plan: IndexPlan, embedder: TextEmbedder
    ) -> None:
        for path in plan.gone:
            catalog.delete(path)
        todo = sorted([*plan.new, *plan.changed])
        for done, path in enumerate(todo, start=1):
            document = sources.documents[path]
            chunks = split(
                document, self._domain.chunking, embedder.count_tokens, embedder.max_tokens
            )
            catalog.put(document, chunks, self._recipe)
            self._report(Progress("split", done, len(todo)))


def _recipe(domain: Domain) -> str:
    """Whatever decides how a document becomes chunks and vectors, besides the document."""
    parts = (READER_VERSION, CHUNKER_VERSION, domain.chunking, identity(domain.embedder))
    return hashlib.sha256(repr(parts).encode()).hexdigest()


def _load_embedder(domain: Domain) -> TextEmbedder:
    # Imported here: it takes seconds, and a run that finds nothing to do needs none of it.
    from indexer.embedding.embedder import Embedder

    return Embedder(domain.embedder)


def _check_room(domain: Domain, embedder: TextEmbedder) -> None:
    """An embedding model silently leaves out what is longer than it reads."""
    tokens = domain.chunking.tokens
    if tokens > embedder.max_tokens:
        raise BadInput(
            f"`chunking.tokens` = {tokens} is more than the {embedder.max_tokens} tokens that"
            f" {domain.embedder.name!r} reads",
            "Lower it in domain.toml, or choose another embedding model",
        )


def _passage_texts(
    documents: dict[str, Document], chunks: list[Chunk], embedder: TextEmbedder
) -> list[str]:
    texts = []
    for chunk in chunks:
        document = documents[chunk.document]
        text = document.text[chunk.start : chunk.end]
        texts.append(
            with_context(document.title, chunk, text, embedder.count_tokens, embedder.max_tokens)
        )
    return texts


def _mark(domain: Domain, embedder: TextEmbedder) -> EmbedderMark:
    return EmbedderMark(
        name=domain.embedder.name,
        dtype=embedder.dtype,
        fingerprint=embedder.fingerprint,
        space=embedder.space,
        dimension=embedder.dimension,
    )


def _result(snapshot_id: str, manifest: SnapshotManifest, embedded: int) -> IndexResult:
    texts = manifest.chunks + manifest.demonstrations
    return IndexResult(
        snapshot=snapshot_id,
        documents=manifest.documents,
        chunks=manifest.chunks,
        demonstrations=manifest.demonstrations,
        embedded=embedded,
        reused=texts - embedded,
        rejected=[],
        seconds=0.0,
    )


@contextlib.contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """One job per domain; the lock goes with the process that holds it, however it ends."""
    path = folder / "index.lock"
    with store_errors(path):
        folder.mkdir(parents=True, exist_ok=True)
        file = path.open("a", encoding="utf-8")
    with file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise StoreError(
                f"Another job is indexing here: it holds {path}", "Wait until it has ended"
            ) from error
        yield
