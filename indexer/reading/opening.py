"""One file to its documents: opened, checked to be what was found, read."""

import hashlib
import os
from stat import S_ISREG

from indexer.reading.door import read_content
from indexer.reading.outcome import Reading
from indexer.reading.rules import MIB, Rules
from indexer.reading.walk import SourceFile
from indexer.records import Document, Rejected

__all__ = ["Reading", "Unopened", "content_of", "read_source", "reading_of"]


class Unopened(Exception):
    """The file cannot be had; the message continues its name."""


def read_source(source: SourceFile, rules: Rules) -> Reading:
    """In this process and with no limit but sizes: for tests, and for what a worker does."""
    try:
        content = content_of(source, rules)
    except Unopened as error:
        return Reading(source, "", [], [Rejected(source.path, str(error))])
    return reading_of(source, content, hashlib.sha256(content).hexdigest(), rules)


def reading_of(source: SourceFile, content: bytes, sha256: str, rules: Rules) -> Reading:
    """`content` is the file's."""
    reading = Reading(source, sha256, [], [])
    for found in read_content(source.path, content, rules):
        if isinstance(found, Document):
            reading.documents.append(found)
        else:
            reading.rejected.append(found)
    return reading


def content_of(source: SourceFile, rules: Rules) -> bytes:
    """Of a regular file at this very path: neither a link nor a pipe that was put there since."""
    largest = rules.limits.file_mb * MIB
    try:
        flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
        with open(os.open(source.file, flags), "rb", buffering=0) as file:
            moved = os.readlink(f"/proc/self/fd/{file.fileno()}") != os.fspath(source.file)
            if moved or not S_ISREG(os.fstat(file.fileno()).st_mode):
                raise Unopened("is not the file any more that was found here")
            content = _read_all(file.fileno(), largest + 1)
    except OSError as error:
        raise Unopened(f"cannot be read: {error.strerror or error}") from error
    if len(content) > largest:
        raise Unopened(f"is larger than {rules.limits.file_mb} MiB; split it")
    return content


def _read_all(descriptor: int, most: int) -> bytes:
    """A file may grow while it is read: never more than `most` bytes."""
    blocks: list[bytes] = []
    while most > 0 and (block := os.read(descriptor, min(most, MIB))):
        blocks.append(block)
        most -= len(block)
    return b"".join(blocks)
