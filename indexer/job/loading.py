"""Embedding models of a job: loaded in a thread and only if there is something to embed."""

import json
import threading
from collections.abc import Callable

from indexer.domain import EmbedderSettings
from indexer.embedding.weights import identity
from indexer.job.counting import Counter, light_counter, probe_counts
from indexer.job.runner import TextEmbedder
from indexer.store.catalog import Catalog
from indexer.store.manifest import EmbedderMark, Probe

_POLL_SECONDS = 0.1


class Loading:
    """One embedding model. Give `loaded` where it is there already."""

    def __init__(
        self, settings: EmbedderSettings, catalog: Catalog, loaded: TextEmbedder | None = None
    ) -> None:
        self.settings = settings
        self._catalog = catalog
        self._loaded = loaded
        self._error: BaseException | None = None
        self._thread: threading.Thread | None = None
        # What an embedder of this identity said of itself is kept: asking again would load it.
        self._key = f"embedder/{'given' if loaded else identity(settings)}"
        self._counts_key = f"counts/{self._key}"

    def start(self) -> None:
        """Begin, if it has not begun."""
        if self._loaded is None and self._thread is None:
            self._thread = threading.Thread(target=self._load, name="load")
            self._thread.start()

    def get(self, waiting: Callable[[], None]) -> TextEmbedder:
        """The model; `waiting` is called again and again until it is there."""
        self.start()
        while self._thread is not None and self._thread.is_alive():
            waiting()
            self._thread.join(_POLL_SECONDS)
        if self._error is not None:
            raise self._error
        assert self._loaded is not None
        return self._loaded

    def settle(self) -> None:
        """Wait until nothing is being loaded: a program must not end within an import."""
        if self._thread is not None:
            self._thread.join()

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

    def _load(self) -> None:
        try:
            # Imported here: it takes seconds, and a run that finds nothing to do needs none of it.
            from indexer.embedding.embedder import Embedder

            self._loaded = Embedder(self.settings)
        except BaseException as error:  # handed on to who waits for it
            self._error = error


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
