"""What reading one file gave."""

from dataclasses import dataclass, field

from indexer.reading.walk import SourceFile
from indexer.records import Document, Rejected


@dataclass(frozen=True, slots=True)
class Reading:
    """What one file gave. `sha256` is of its bytes, "" where they could not be had.

    `memory` is the most that the process which read it has held meanwhile, in MiB.
    """

    source: SourceFile
    sha256: str
    documents: list[Document]
    rejected: list[Rejected]
    seconds: float = field(default=0.0, compare=False)
    memory: int = field(default=0, compare=False)
