"""Documents to chunks, and chunks to the texts that have not been embedded yet."""

from collections.abc import Callable, Iterator
from dataclasses import replace

from indexer.domain import ChunkingSettings
from indexer.job.counting import Counter
from indexer.job.runner import Text
from indexer.records import Chunk, Document
from indexer.store.catalog import Catalog
from indexer.store.pieces import KeyedChunk, Pieces, VectorCache, text_key
from indexer.store.tables import DOCUMENT, read_document
from indexer.text.chunking import split, with_context
from indexer.text.counting import WordCounter
from indexer.text.sketches import Sketcher


class PassageTexts:
    """The texts of a catalog's chunks that `vectors` does not hold; splits what was not split."""

    def __init__(
        self,
        catalog: Catalog,
        vectors: VectorCache,
        settings: ChunkingSettings,
        recipe: str,
        counter: Counter,
        heard: Callable[[int, int], None],
    ) -> None:
        self._catalog = catalog
        self._pieces = Pieces(catalog)
        self._vectors = vectors
        self._settings = settings
        self._recipe = recipe
        self._counter = replace(counter, count=WordCounter(counter.count))
        self._sketcher = Sketcher()
        self._heard = heard
        self._given: set[bytes] = set()
        self.unsplit = self._pieces.count_unsplit(recipe)
        self.split = 0
        self.found = 0

    def split_all(self) -> None:
        """Split now and embed later: what is split is found again by its missing vectors."""
        for document in self._pieces.unsplit(self._recipe):
            self._split(document)
            self.split += 1
            self._heard(self.split, self.unsplit)

    def expected(self) -> int:
        """How many texts there will be: counted when all is split, estimated before."""
        if not self.split or self.split == self.unsplit:
            return self.found
        return self.found * self.unsplit // self.split

    def __iter__(self) -> Iterator[Text]:
        """First what an earlier run split and did not embed, then the rest, as it is split."""
        for path in self._vectors.unembedded():
            yield from self._missing(*self._known(path))
        for document in self._pieces.unsplit(self._recipe):
            yield from self._missing(*self._split(document))
            self.split += 1
            self._heard(self.split, self.unsplit)

    def taken(self, keys: list[bytes]) -> None:
        """These have vectors now."""
        self._given.difference_update(keys)

    def _split(self, document: Document) -> tuple[list[bytes], list[str]]:
        count, limit = self._counter.count, self._counter.limit
        chunks = split(document, self._settings, count, limit)
        texts = [self._text(document, chunk) for chunk in chunks]
        keys = [text_key("passage", text) for text in texts]
        keyed = [
            KeyedChunk(chunk, key, self._sketch(document, chunk))
            for chunk, key in zip(chunks, keys, strict=True)
        ]
        self._pieces.put(document.path, keyed, self._recipe)
        return keys, texts

    def _sketch(self, document: Document, chunk: Chunk) -> bytes:
        context = "\n".join([document.title, *chunk.headings])
        return self._sketcher(document.text[chunk.start : chunk.end], context)

    def _known(self, path: str) -> tuple[list[bytes], list[str]]:
        query = f"SELECT {DOCUMENT} FROM documents WHERE path = ? AND recipe = ?"
        rows = self._catalog.rows(query, path, self._recipe)
        if not rows:  # it is split again, later
            return [], []
        document = read_document(rows[0])
        chunks = self._pieces.chunks_of(path)
        return [c.key for c in chunks], [self._text(document, c.chunk) for c in chunks]

    def _missing(self, keys: list[bytes], texts: list[str]) -> Iterator[Text]:
        known = self._vectors.known(keys)
        for key, text in zip(keys, texts, strict=True):
            if key not in known and key not in self._given:
                self._given.add(key)
                self.found += 1
                yield key, text

    def _text(self, document: Document, chunk: Chunk) -> str:
        text = document.text[chunk.start : chunk.end]
        count, limit = self._counter.count, self._counter.limit
        return with_context(document.title, chunk, text, count, limit)
