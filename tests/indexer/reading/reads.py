"""One file's bytes through the door, with the usual settings or others."""

from indexer.domain import FieldSettings, LimitSettings
from indexer.reading.door import read_content
from indexer.reading.rules import Rules
from indexer.records import Document, Rejected


def rules(*passwords: str, **limits: int) -> Rules:
    return Rules(FieldSettings(), LimitSettings(**limits), passwords)


def read(name: str, content: bytes, given: Rules | None = None) -> list[Document | Rejected]:
    return list(read_content(name, content, given or rules()))


def documents(name: str, content: bytes, given: Rules | None = None) -> list[Document]:
    found = read(name, content, given)
    assert not [one for one in found if isinstance(one, Rejected)]
    return [one for one in found if isinstance(one, Document)]


def one(name: str, content: bytes, given: Rules | None = None) -> Document:
    (found,) = read(name, content, given)
    assert isinstance(found, Document), found
    return found


def reason(name: str, content: bytes, given: Rules | None = None) -> str:
    (found,) = read(name, content, given)
    assert isinstance(found, Rejected)
    return found.reason


def lines(document: Document) -> list[tuple[str, int, str]]:
    text = document.text
    return [(b.kind, b.level, text[b.start : b.end]) for b in document.blocks]
