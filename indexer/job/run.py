"""From a domain's files to a published snapshot: resumable at any moment, never half done.

Scan, read, split, embed, write, verify, publish; each step begins with what the catalog says is
still to be done. Chooses no release: whoever runs the job decides what becomes of the snapshot.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace

from indexer.domain import Domain
from indexer.errors import Cancelled
from indexer.job.comparison import CHANGED, NEW, SAME, TOUCHED, Comparison
from indexer.job.estimate import Work, keep_rates, read_rates
from indexer.job.loading import Loading
from indexer.job.lock import locked
from indexer.job.progress import Meter
from indexer.job.recipes import reading_recipe
from indexer.job.results import Changes, IndexPlan, IndexResult, Progress, silent
from indexer.job.runner import LocalRunner, Runner, TextEmbedder
from indexer.job.steps import Published, Steps
from indexer.reading.examples import read_demonstrations
from indexer.reading.walk import scan
from indexer.records import Demonstration
from indexer.settings import Paths
from indexer.store.catalog import Catalog
from indexer.store.drafts import remove_drafts
from indexer.store.journal import Journal
from indexer.store.tombstones import Tombstones

__all__ = ["Cancelled", "IndexJob", "IndexPlan", "IndexResult", "Progress", "silent"]


@dataclass(frozen=True, slots=True)
class IndexJob:
    """One run over one domain.

    Give `embedder` (and `question_embedder`, where demonstrations use another) to share loaded
    ones. `stopped` is asked between any two batches: True ends the job with Cancelled. `emptied`:
    the folders may hold nothing any more, where there are uploads.
    """

    domain: Domain
    paths: Paths
    report: Callable[[Progress], None] = silent
    embedder: TextEmbedder | None = None
    question_embedder: TextEmbedder | None = None
    runner: Runner = field(default_factory=LocalRunner)
    stopped: Callable[[], bool] = lambda: False
    emptied: bool = False

    def run(self) -> IndexResult:
        """Index and publish; what is unchanged is not read, split or embedded again.

        BadInput: a folder is gone, nothing can be used, or an example is bad. StoreError: the
        store cannot be written, or another job runs. Cancelled: `stopped` said so.
        """
        name = self.domain.name
        demonstrations = self._demonstrations()
        began = time.monotonic()
        with locked(self.paths.domain(name)), Catalog(self.paths.catalog(name)) as catalog:
            steps = self._steps(catalog, demonstrations)
            try:
                result = self._run(steps)
            finally:
                steps.passages.settle()
                steps.questions.settle()
            seconds = {phase: round(took, 3) for phase, took in steps.meter.seconds.items()}
            return replace(result, seconds=time.monotonic() - began, phases=seconds)

    def _run(self, steps: Steps) -> IndexResult:
        remove_drafts(self.paths, self.domain.name)
        tombstones = Tombstones(self.paths.tombstones(self.domain.name))
        hidden = tombstones.entries()
        changes = steps.read()
        published = steps.published() or steps.index()
        tombstones.settle(hidden, self.paths.snapshot(self.domain.name, published.id))
        steps.meter.end()
        return _result(steps, published, changes)

    def _steps(self, catalog: Catalog, demonstrations: list[Demonstration]) -> Steps:
        passages = questions = Loading(self.domain.embedder, catalog, self.embedder)
        other = self.domain.demonstrations.embedder
        if other is not None and other != self.domain.embedder:
            questions = Loading(other, catalog, self.question_embedder)
        return Steps(
            domain=self.domain,
            paths=self.paths,
            catalog=catalog,
            meter=Meter(self.report, self.stopped),
            runner=self.runner,
            passages=passages,
            questions=questions,
            demonstrations=demonstrations,
            emptied=self.emptied,
        )

    def plan(self) -> IndexPlan:
        """Look and compare; writes nothing, reads no document and loads no embedding model."""
        demonstrations = self._demonstrations()
        with Catalog.read_only(self.paths.catalog(self.domain.name)) as catalog:
            comparison = Comparison(catalog, reading_recipe(self.domain))
            found = scan(self.domain, self.paths.uploads(self.domain.name))
            comparison.look(found, _quiet, self.emptied)
            return _plan(catalog, comparison, len(demonstrations))

    def _demonstrations(self) -> list[Demonstration]:
        return sorted(read_demonstrations(self.domain), key=lambda d: d.id)


def _quiet(_: int) -> None:
    """A look that nobody watches."""


def _plan(catalog: Catalog, comparison: Comparison, demonstrations: int) -> IndexPlan:
    renamed = {old: source.path for old, source in comparison.renamed()}
    rates = read_rates(catalog)
    size, gone = comparison.bytes_to_read(), comparison.gone()
    chunks = catalog.count("SELECT count(*) FROM chunks")
    idle = not (size or gone or renamed)
    return IndexPlan(
        new=[source.path for source in comparison.sources(NEW)],
        changed=[source.path for source in comparison.sources(CHANGED)],
        renamed=renamed,
        gone=gone,
        unchanged=[source.path for source in comparison.sources(SAME, TOUCHED)],
        quarantined=comparison.quarantined(),
        demonstrations=demonstrations,
        seconds=0.0 if idle else rates.seconds(size, chunks),
        measured=rates.measured,
    )


def _result(steps: Steps, published: Published, changes: Changes) -> IndexResult:
    journal, manifest = Journal(steps.catalog), published.manifest
    texts = manifest.chunks + manifest.copies + manifest.demonstrations
    work = Work(steps.bytes_read, published.embedded, manifest.chunks, steps.meter.seconds)
    if "write" in steps.meter.seconds:
        keep_rates(steps.catalog, work)
    return IndexResult(
        snapshot=published.id,
        documents=manifest.documents,
        chunks=manifest.chunks,
        demonstrations=manifest.demonstrations,
        embedded=published.embedded,
        reused=max(0, texts - published.embedded),
        rejected=sorted([*journal.rejected(), *steps.doubled], key=lambda one: one.path),
        seconds=0.0,
        files=changes,
        duplicates=manifest.copies,
        masked=journal.masked(),
        bytes=sum(mark.bytes for mark in manifest.files.values()),
    )
