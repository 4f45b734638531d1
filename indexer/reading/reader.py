"""Files to documents, in the order given, each within its limits and in a worker process."""

import hashlib
from collections.abc import Iterable, Iterator
from importlib.metadata import version
from pathlib import Path
from types import TracebackType
from typing import Self

from indexer.domain import Domain
from indexer.errors import BadInput
from indexer.reading.opening import Reading, read_source
from indexer.reading.walk import SourceFile

__all__ = ["READER_VERSION", "ReaderPool", "Reading", "reader_identity"]

# Part of what decides whether a stored document is still good: raise it when reading changes.
READER_VERSION = "2"
_LIBRARIES = ("kreuzberg", "markdown-it-py", "selectolax", "charset-normalizer", "pyyaml")


def reader_identity(domain: Domain) -> str:
    """16 hex digits; others whenever reading the same bytes may give something else."""
    settings = domain.documents
    parts = [
        READER_VERSION,
        *(version(library) for library in _LIBRARIES),
        settings.fields.model_dump_json(),
        settings.limits.model_dump_json(),
        _passwords_digest(domain.folder, settings.passwords),
    ]
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()[:16]


def _passwords_digest(folder: Path, name: str | None) -> str:
    if name is None:
        return ""
    try:
        return hashlib.sha256((folder / name).read_bytes()).hexdigest()
    except OSError as error:
        raise BadInput(
            f"Cannot read the passwords {folder / name}: {error.strerror or error}",
            "Correct `documents.passwords` in domain.toml",
        ) from error


class ReaderPool:
    """Reads any number of files; `read` may be called again and again."""

    def __init__(self, domain: Domain) -> None:
        self._settings = domain.documents

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        pass

    def read(self, files: Iterable[SourceFile]) -> Iterator[Reading]:
        """One reading for each file, in the order given; few files are under way at once."""
        for source in files:
            yield read_source(source, self._settings)
