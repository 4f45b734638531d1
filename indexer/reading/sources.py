"""The documents of a domain, as they lie on disk.

Finds and reads; decides nothing about what has changed. What cannot be read is handed on as
Rejected with its reason, so that one bad file does not stop the others.
"""

from collections.abc import Iterator

from indexer.domain import Domain
from indexer.errors import BadInput
from indexer.reading.examples import read_demonstrations
from indexer.reading.kinds import NAMES
from indexer.reading.reader import READER_VERSION
from indexer.reading.rules import rules_of
from indexer.reading.walk import UPLOADS, SourceFile, scan
from indexer.records import Document, Rejected

__all__ = [
    "READER_VERSION",
    "UPLOADS",
    "SourceFile",
    "read_demonstrations",
    "read_documents",
    "scan",
]


def read_documents(domain: Domain) -> Iterator[Document | Rejected]:
    """Every document in order of path, read in this process: no limit but the files' size.

    For what reads its own files. BadInput: a path does not exist, or holds no document.
    """
    from indexer.reading.opening import (
        read_source,
    )  # loads every reader, which a job leaves to others

    empty, rules = True, rules_of(domain)
    for found in scan(domain):
        empty = False
        if isinstance(found, Rejected):
            yield found
        else:
            reading = read_source(found, rules)
            yield from reading.documents
            yield from reading.rejected
    if empty:
        folders = ", ".join(str(domain.folder / entry) for entry in domain.documents.paths)
        raise BadInput(f"There are no documents in {folders}", f"Put files there: {NAMES}")
