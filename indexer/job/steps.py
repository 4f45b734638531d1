"""The steps of one run, over one catalog that this run alone writes."""

import hashlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING

import orjson

from indexer.domain import Domain
from indexer.errors import BadInput, StoreError
from indexer.job.comparison import Comparison
from indexer.job.counting import Counter
from indexer.job.intake import Intake
from indexer.job.loading import Loading
from indexer.job.masks import mask_for
from indexer.job.progress import Meter
from indexer.job.recipes import reading_recipe, snapshot_recipe, splitting_recipe
from indexer.job.results import Changes
from indexer.job.rows import CachedVectors, KeptChunks
from indexer.job.runner import Embedded, Role, Runner, Text
from indexer.job.texts import PassageTexts
from indexer.reading.walk import scan
from indexer.records import Demonstration, Rejected
from indexer.settings import Paths
from indexer.store.catalog import Catalog
from indexer.store.journal import PUBLISHED, Journal
from indexer.store.manifest import EmbedderMark, SnapshotManifest, check_files
from indexer.store.pieces import Key, Pieces, VectorCache, prune_vectors, text_key

if TYPE_CHECKING:
    from indexer.store.draft import SnapshotContent

_FEW = 64  # documents, split in less time than a model takes to load


@dataclass(frozen=True, slots=True)
class Published:
    """A snapshot that is there, and how many texts had to be embedded for it."""

    id: str
    manifest: SnapshotManifest
    embedded: int = 0


@dataclass(slots=True)
class Steps:
    """Scan and read, split and embed, write, verify and publish; `questions` may be `passages`."""

    domain: Domain
    paths: Paths
    catalog: Catalog
    meter: Meter
    runner: Runner
    passages: Loading
    questions: Loading
    demonstrations: list[Demonstration]
    bytes_read: int = 0
    embedded: int = 0
    emptied: bool = False
    doubled: list[Rejected] = field(default_factory=list)

    def read(self) -> Changes:
        """Bring the journal up to the files. BadInput: none of them can be used."""
        reader = reading_recipe(self.domain)
        comparison = Comparison(self.catalog, reader)
        self.meter.step("scan", 0, 0)
        found = scan(self.domain, self.paths.uploads(self.domain.name))
        step = partial(self.meter.step, "scan", total=0)
        changes = comparison.look(found, step, self.emptied)
        self.doubled = comparison.doubled
        mask = mask_for(self.domain.masking.kinds)
        intake = Intake(self.catalog, comparison, reader, mask, self.domain)
        again = intake.settle()
        total = comparison.count_to_read() + len(again)
        if comparison.will_give_documents():  # the model is loaded while reading goes on
            self.passages.start()
        if total:
            self.bytes_read = comparison.bytes_to_read()
            intake.read(self.runner, again, self._heard(total))
        if not self.catalog.rows("SELECT 1 FROM documents LIMIT 1"):
            raise self._nothing()
        return changes

    def _heard(self, total: int) -> Callable[[bool], None]:
        done = 0
        self.meter.step("read", 0, total)

        def heard(changed: bool) -> None:
            nonlocal done
            done += 1
            if changed:  # it will have to be embedded
                self.passages.start()
            self.meter.step("read", done, total)

        return heard

    def _nothing(self) -> BadInput:
        rejected = Journal(self.catalog).rejected()
        first = f": {rejected[0].path} {rejected[0].reason}" if rejected else ""
        return BadInput(
            f"None of the {len(rejected)} documents of {self.domain.name!r} can be used{first}",
            "Put documents there that can be read; what was published has not changed",
        )

    def published(self) -> Published | None:
        """The last run's snapshot, if nothing has changed since: no need to load anything."""
        try:
            kept = orjson.loads(self.catalog.meta(PUBLISHED) or "{}")
            if kept.get("of") != self._state():
                return None
            folder = self.paths.snapshot(self.domain.name, kept["snapshot"])
            return Published(*check_files(folder))
        except StoreError:  # it is damaged, or was removed: it is made again
            return None

    def _state(self) -> list[str]:
        """What a snapshot is made of, besides the documents."""
        digest = hashlib.sha256()
        for d in self.demonstrations:
            digest.update(repr((d.id, d.question, d.answer, d.group)).encode())
        return [snapshot_recipe(self.domain), digest.hexdigest()]

    def index(self) -> Published:
        """Split, embed, write, verify, publish.

        Few documents are split by the tokenizer alone, and all that needs no vector is written
        while the model is still being loaded; many are embedded while the next ones are split.
        """
        from indexer.store.snapshot import write_snapshot

        mark = self.passages.mark(self.meter.check)
        question_mark = self.questions.mark(self.meter.check)
        self._check_room(mark)

        def embed() -> None:
            self._embed_passages(mark)
            self._embed_questions(question_mark)
            self.catalog.commit()

        if not self._split_early(mark):
            embed()
        content = self._content(mark, question_mark, embed)
        snapshot_id = write_snapshot(self.paths, content, self._write_step())
        folder = self.paths.snapshot(self.domain.name, snapshot_id)
        self._keep_published(snapshot_id, [mark.fingerprint, question_mark.fingerprint])
        return Published(snapshot_id, check_files(folder)[1], self.embedded)

    def _content(
        self, mark: EmbedderMark, question_mark: EmbedderMark, embed: Callable[[], None]
    ) -> "SnapshotContent":
        from indexer.store.snapshot import SnapshotContent

        rows, examples = self._vectors(mark), self._vectors(question_mark)
        for _, key in self._question_keys():
            examples.append(key)
        kept = KeptChunks(self.catalog, self.domain.duplicates, rows)
        return SnapshotContent(
            domain=self.domain.name,
            documents=Pieces(self.catalog).documents(),
            chunks=kept,
            demonstrations=self.demonstrations,
            passage_vectors=rows,
            demonstration_vectors=examples,
            embedder=mark,
            demonstration_embedder=None if question_mark == mark else question_mark,
            copies=kept.copies(),
            index=self.domain.index,
            embed=embed,
        )

    def _vectors(self, mark: EmbedderMark) -> CachedVectors:
        cache = VectorCache(self.catalog, mark.fingerprint)
        return CachedVectors(cache, mark.dimension, self.meter.check)

    def _write_step(self) -> Callable[[str, int, int], None]:
        chunks = self.catalog.count("SELECT count(*) FROM chunks")

        def step(phase: str, done: int, total: int) -> None:
            if phase == "documents":
                self.meter.step("write", 0, chunks)
            elif phase == "chunks":
                self.meter.step("write", done, chunks)
            else:
                self.meter.step(phase, done, total)

        return step

    def _keep_published(self, snapshot_id: str, fingerprints: list[str]) -> None:
        self.meter.step("tidy", 0, 1)
        kept = {"of": self._state(), "snapshot": snapshot_id}
        self.catalog.put_meta(PUBLISHED, orjson.dumps(kept).decode())
        self.catalog.commit()
        prune_vectors(self.catalog, fingerprints, [key for _, key in self._question_keys()])
        self.catalog.commit()

    def _check_room(self, mark: EmbedderMark) -> None:
        """An embedding model silently leaves out what is longer than it reads."""
        tokens = self.domain.chunking.tokens
        if tokens > mark.max_tokens:
            raise BadInput(
                f"`chunking.tokens` = {tokens} is more than the {mark.max_tokens} tokens that"
                f" {mark.name!r} reads",
                "Lower it in domain.toml, or choose another embedding model",
            )

    def _split_early(self, mark: EmbedderMark) -> bool:
        """Split without the model, where documents are few enough not to be embedded meanwhile."""
        recipe = splitting_recipe(self.domain)
        unsplit = Pieces(self.catalog).count_unsplit(recipe)
        counter = self.passages.light_counter(mark) if 0 < unsplit <= _FEW else None
        if counter is None:
            return False
        self.passages.start()
        vectors = VectorCache(self.catalog, mark.fingerprint)
        step = partial(self.meter.step, "split")
        PassageTexts(self.catalog, vectors, self.domain.chunking, recipe, counter, step).split_all()
        return True

    def _embed_passages(self, mark: EmbedderMark) -> None:
        vectors, recipe = VectorCache(self.catalog, mark.fingerprint), splitting_recipe(self.domain)
        if not Pieces(self.catalog).count_unsplit(recipe) and not vectors.count_unembedded():
            return
        embedder = self.passages.get(self.meter.check)
        counter = Counter(embedder.count_tokens, embedder.max_tokens)
        done = 0

        def heard(split: int, total: int) -> None:
            # One phase after the other: once texts are embedded, these are what is counted.
            self.meter.check() if done else self.meter.step("split", split, total)

        texts = PassageTexts(self.catalog, vectors, self.domain.chunking, recipe, counter, heard)
        for batch in self._made(iter(texts), "passage", self.passages):
            vectors.put(dict(batch))
            texts.taken([key for key, _ in batch])
            done += len(batch)
            self.meter.step("embed", done, max(texts.expected(), done))

    def _embed_questions(self, mark: EmbedderMark) -> None:
        vectors = VectorCache(self.catalog, mark.fingerprint)
        asked = {key: text for text, key in self._question_keys()}
        missing = asked.keys() - vectors.known(list(asked))
        texts = [(key, text) for key, text in asked.items() if key in missing]
        done = 0
        for batch in self._made(iter(texts), "question", self.questions) if texts else ():
            vectors.put(dict(batch))
            done += len(batch)
            self.meter.step("embed", done, len(texts))

    def _made(self, texts: Iterator[Text], role: Role, loading: Loading) -> Iterator[Embedded]:
        embedder = loading.get(self.meter.check)
        for batch in self.runner.embed(texts, role, loading.settings, embedder, self.meter.check):
            if batch:
                self.embedded += len(batch)
                yield batch

    def _question_keys(self) -> Iterator[tuple[str, Key]]:
        for demonstration in self.demonstrations:
            yield demonstration.question, text_key("question", demonstration.question)
