"""What a reading process and the one that started it say to each other: JSON behind its length.

Never pickles: a file that takes over the process that reads it must not reach any other.
"""

import struct
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO

import orjson

from indexer.domain import FieldSettings, LimitSettings
from indexer.reading.outcome import Reading
from indexer.reading.rules import Rules
from indexer.reading.walk import SourceFile
from indexer.records import Block, Document, Rejected

_LENGTH = struct.Struct(">Q")
_LONGEST = 2**32


def packed(message: dict[str, Any]) -> bytes:
    content = orjson.dumps(message)
    return _LENGTH.pack(len(content)) + content


def read_message(stream: BinaryIO) -> dict[str, Any] | None:
    """Waits; None at the end."""
    head = stream.read(_LENGTH.size)
    if len(head) < _LENGTH.size:
        return None
    content = stream.read(_LENGTH.unpack(head)[0])
    found: dict[str, Any] = orjson.loads(content)
    return found


@dataclass(slots=True)
class Unpacker:
    """Messages out of whatever pieces arrive."""

    waiting: bytearray = field(default_factory=bytearray)

    def messages(self, piece: bytes) -> Iterator[dict[str, Any]]:
        self.waiting += piece
        while len(self.waiting) >= _LENGTH.size:
            length = _LENGTH.unpack(self.waiting[: _LENGTH.size])[0]
            end = _LENGTH.size + length
            if length > _LONGEST:
                raise ValueError(f"a message of {length} bytes")
            if len(self.waiting) < end:
                return
            content = bytes(self.waiting[_LENGTH.size : end])
            del self.waiting[:end]
            yield orjson.loads(content)


def rules_message(rules: Rules) -> dict[str, Any]:
    return {
        "fields": rules.fields.model_dump(),
        "limits": rules.limits.model_dump(),
        "passwords": rules.passwords,
    }


def to_rules(message: dict[str, Any]) -> Rules:
    fields = FieldSettings(**message["fields"])
    return Rules(fields, LimitSettings(**message["limits"]), tuple(message["passwords"]))


def source_message(source: SourceFile) -> dict[str, Any]:
    return {
        "path": source.path,
        "file": str(source.file),
        "size": source.size,
        "mtime_ns": source.mtime_ns,
    }


def to_source(message: dict[str, Any]) -> SourceFile:
    return SourceFile(message["path"], Path(message["file"]), message["size"], message["mtime_ns"])


def reading_message(reading: Reading) -> dict[str, Any]:
    return {
        "sha256": reading.sha256,
        "seconds": reading.seconds,
        "memory": reading.memory,
        "rejected": [[one.path, one.reason] for one in reading.rejected],
        "documents": [_document_message(document) for document in reading.documents],
    }


def _document_message(document: Document) -> dict[str, Any]:
    return {
        "id": document.id,
        "path": document.path,
        "title": document.title,
        "text": document.text,
        "sha256": document.sha256,
        "blocks": [[b.kind, b.start, b.end, b.level] for b in document.blocks],
        "pages": document.pages,
        "fields": document.fields,
    }


def to_reading(source: SourceFile, message: dict[str, Any]) -> Reading:
    """ValueError or the like: what was said is no reading, or one of another file."""
    for path in (one["path"] for one in message["documents"]):
        if path != source.path and not path.startswith(f"{source.path}/"):
            raise ValueError(f"{path!r} is no part of {source.path!r}")
    documents = [
        Document(
            **{
                **one,
                "blocks": tuple(Block(*block) for block in one["blocks"]),
                "pages": tuple(one["pages"]),
            }
        )
        for one in message["documents"]
    ]
    rejected = [Rejected(path, reason) for path, reason in message["rejected"]]
    seconds, memory = message["seconds"], message["memory"]
    return Reading(source, message["sha256"], documents, rejected, seconds, memory)
