"""What decides the results of each step: what is equal here need not be done again."""

import hashlib
import importlib.metadata

from indexer.domain import Domain
from indexer.embedding.weights import identity
from indexer.index.lexical_build import FORMAT as LEXICAL_FORMAT
from indexer.reading.reader import reader_identity
from indexer.store.manifest import FORMAT
from indexer.text.chunking import CHUNKER_VERSION
from indexer.text.sketches import SKETCH_VERSION

_INDEX_LIBRARIES = ("faiss-cpu", "numpy", "rensa", "PyStemmer")


def reading_recipe(domain: Domain) -> str:
    """Of documents: what reads and what masks them, for nothing unmasked is kept."""
    if not domain.masking.kinds:
        return reader_identity(domain)
    # Imported here: most domains do not want it.
    from indexer.text.masking import masker_identity

    return _digest(reader_identity(domain), masker_identity(domain.masking.kinds))


def splitting_recipe(domain: Domain) -> str:
    """Of chunks, their sketches and the texts to embed: by the model's tokens, whatever runs it."""
    counting = domain.embedder.model_copy(update={"dtype": "auto", "backend": "torch"})
    return _digest(CHUNKER_VERSION, SKETCH_VERSION, domain.chunking, identity(counting))


def snapshot_recipe(domain: Domain) -> str:
    """Of a snapshot, besides its documents and demonstrations."""
    return _digest(
        FORMAT,
        LEXICAL_FORMAT,
        splitting_recipe(domain),
        identity(domain.embedder),
        identity(domain.demonstrations.embedder or domain.embedder),
        domain.duplicates,
        domain.index,
        [_version(name) for name in _INDEX_LIBRARIES],
    )


def _version(name: str) -> str:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return ""


def _digest(*parts: object) -> str:
    return hashlib.sha256(repr(parts).encode()).hexdigest()[:32]
