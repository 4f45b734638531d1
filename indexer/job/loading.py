"""Embedding models of a job: loaded aside and only if there is something to embed."""

import json
from collections.abc import Callable
from typing import TYPE_CHECKING

from indexer.domain import EmbedderSettings
from indexer.embedding.weights import identity
from indexer.job.counting import Counter, light_counter, probe_counts
from indexer.job.runner import TextEmbedder
from indexer.store.catalog import Catalog
from indexer.store.manifest import EmbedderMark, Probe

if TYPE_CHECKING:
    from indexer.embedding.apart import Process

_POLL_SECONDS = 0.1


class Loading:
    """One embedding model. Give `loaded` where it is there already."""

    def __init__(
        self, settings: EmbedderSettings, catalog: Catalog, loaded: TextEmbedder | None = None
    ) -> None:
        self.settings = settings
        self._catalog = catalog
        self._loaded = loaded
        self._process: Process | None = None
        # What an embedder of this identity said of itself is kept: asking again would load it.
        self._key = f"embedder/{'given' if loaded else identity(settings)}"
        self._counts_key = f"counts/{self._key}"

    def start(self) -> None:
        """Begin, if it has not begun."""
        if self._loaded is None and self._process is None:
            # Imported here: a run that finds nothing to do needs none of it.
            from indexer.embedding.apart import Process

            self._process = Process(self.settings)

    def get(self, waiting: Callable[[], None]) -> TextEmbedder:
        """The model; `waiting` is called again and again until it is there."""
        self.start()
        while self._loaded is None:
            waiting()
            if self._process is not None and self._process.arrived(_POLL_SECONDS):
                self._loaded = self._process.embedder()
        return self._loaded

    def settle(self) -> None:
        """End the process that holds the model, if one was started."""
        if self._process is not None:
            self._process.close()

    def mark(self, waiting: Callable[[], None]) -> EmbedderMark:
        """What the manifest says of it."""
        known = self._catalog.meta(self._key)
        if known and self._loaded is None:
            return EmbedderMark.model_validate_json(known)
        embedder = self.get(waiting)
        mark = _mark(self.settings, embedder)
        if known != mark.model_dump_json():
            counts = json.dumps(probe_counts(embedder.count_tokens))
            self._catalog.put_meta(self._counts_key, counts)
            self._catalog.put_meta(self._key, mark.model_dump_json())
        return mark

    def light_counter(self, mark: EmbedderMark) -> Counter | None:
        """Counts as the model does, while that is still being loaded; None if it is there."""
        if self._loaded is not None:
            return None
        counts = json.loads(self._catalog.meta(self._counts_key) or "[]")
        return light_counter(self.settings, mark.max_tokens, counts)


def _mark(settings: EmbedderSettings, embedder: TextEmbedder) -> EmbedderMark:
    return EmbedderMark(
        name=settings.name,
        dtype=embedder.dtype,
        fingerprint=embedder.fingerprint,
        space=embedder.space,
        dimension=embedder.dimension,
        revision=embedder.revision,
        pooling=embedder.pooling,
        query_prefix=embedder.query_prefix,
        passage_prefix=embedder.passage_prefix,
        max_tokens=embedder.max_tokens,
        libraries=embedder.libraries,
        probes=tuple(
            Probe(text=text, vector=tuple(float(x) for x in vector))
            for text, vector in embedder.probes()
        ),
    )
