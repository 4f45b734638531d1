"""Bytes of any kind to documents: told apart, unlocked, read, and what lies within read too."""

import hashlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

from indexer.reading.archive import (
    check_parts,
    check_sums,
    open_archive,
    read_entry,
    readable_names,
)
from indexer.reading.encoding import declared_in, decode
from indexer.reading.kinds import KINDS, NAMES, Kind, kind_of, suffix_of
from indexer.reading.layout import (
    Extract,
    Line,
    demoted,
    is_name,
    named_after,
    shortened,
    to_document,
)
from indexer.reading.mail import attachments, mails_of, parse_mail, read_mail
from indexer.reading.markdown import read_markdown, read_mdx
from indexer.reading.markup import read_html
from indexer.reading.objects import read_json, read_jsonl
from indexer.reading.plaintext import read_text
from indexer.reading.rules import MAX_DOCUMENTS, MIB, Budget, Refused, Rules
from indexer.reading.tables import read_csv
from indexer.records import Document, Rejected

Found = Iterator[Document | Rejected]
_PAGES: dict[Kind, Callable[[str], Extract]] = {
    "markdown": read_markdown,
    "mdx": read_mdx,
    "html": read_html,
    "text": read_text,
}


@dataclass(frozen=True, slots=True)
class _Visit:
    """A look into a file, or into one within it: `depth` 1 is the file itself."""

    rules: Rules
    budget: Budget
    depth: int = 1

    def inside(self) -> "_Visit":
        return replace(self, depth=self.depth + 1)


def read_content(path: str, content: bytes, rules: Rules) -> Found:
    """Every document in these bytes; their paths begin with `path`. What is refused is named.

    Each path is given once: of two parts with one name the second is rejected.
    """
    budget = Budget(rules.limits.expanded_mb * MIB)
    yield from _documents_in(path, content, _Visit(rules, budget))


def _documents_in(path: str, content: bytes, visit: _Visit) -> Found:
    seen: set[str] = set()
    try:
        for found in _read(path, content, visit):
            if found.path in seen and isinstance(found, Document):
                yield Rejected(found.path, "another document has this path")
                continue
            if len(seen) >= MAX_DOCUMENTS:
                raise Refused(f"holds more than {MAX_DOCUMENTS} documents; split it")
            seen.add(found.path)
            yield found
    except Refused as error:
        yield Rejected(path, str(error))


def _member(path: str, content: bytes, visit: _Visit) -> Found:
    """A reader's mistake about a file within a file costs none of what lies beside that."""
    try:
        yield from _documents_in(path, content, visit)
    except MemoryError:
        raise
    except Exception as error:
        yield Rejected(path, f"cannot be read: {type(error).__name__}")


def _read(path: str, content: bytes, visit: _Visit) -> Found:
    deepest = visit.rules.limits.depth
    if visit.depth > deepest:
        raise Refused(f"lies deeper than {deepest} files within files")
    if not content:
        raise Refused("is empty")
    kind = kind_of(path, content)
    if kind == "ole":
        yield from _read_ole(path, content, visit)
    elif kind == "zip":
        yield from _read_zip(path, content, visit)
    elif kind == "mail":
        yield from _read_mail(path, content, visit)
    elif kind == "mbox":
        for number, one in enumerate(mails_of(content), start=1):
            yield from _member(f"{path}/{number}.eml", one, visit)
    else:
        yield from _documents(path, content, _extracts(content, kind, visit))


def _extracts(content: bytes, kind: Kind, visit: _Visit) -> Iterator[Extract | Rejected]:
    if kind == "pdf":
        from indexer.reading.pdf import read_pages  # each of these loads a library of its own
        from indexer.reading.printed import to_extract

        yield to_extract(*read_pages(content, visit.rules.passwords))
    elif kind in ("xlsx", "xls", "ods"):
        yield from _sheets(content, kind, visit.budget)
    elif kind == "pptx":
        from indexer.reading.slides import read_slides

        check_parts(content, visit.budget)
        yield read_slides(content)
    elif kind in ("docx", "odt", "epub", "rtf", "msg", "doc", "ppt"):
        from indexer.reading.office import read_office

        if kind in ("docx", "odt", "epub"):
            check_parts(content, visit.budget)
        yield read_office(content, kind)
    else:
        yield from _textual(content, kind, visit.rules)


def _sheets(content: bytes, kind: Kind, budget: Budget) -> Iterator[Extract | Rejected]:
    from indexer.reading.properties import core_properties
    from indexer.reading.sheets import read_sheets

    if kind != "xls":
        check_parts(content, budget)
    found, rejected = read_sheets(content)
    yield from rejected
    if kind != "xls":
        with open_archive(content) as archive:
            found.fields = core_properties(archive)
        found.title = str(found.fields.pop("title", ""))
    yield found


def _textual(content: bytes, kind: Kind, rules: Rules) -> Iterator[Extract | Rejected]:
    text, encoding = decode(content, declared_in(content) if kind == "html" else "")
    if kind in ("csv", "tsv"):
        found: Iterator[Extract | Rejected] = read_csv(text, kind, rules.fields)
    elif kind == "json":
        found = read_json(text, rules.fields)
    elif kind == "jsonl":
        found = read_jsonl(text, rules.fields)
    else:
        found = iter([_PAGES[kind](text)])
    for one in found:
        if isinstance(one, Extract) and encoding != "utf-8":
            one.fields.setdefault("encoding", encoding)
        yield one


def _documents(path: str, content: bytes, found: Iterator[Extract | Rejected]) -> Found:
    for one in found:
        if isinstance(one, Rejected):
            yield Rejected(f"{path}:{one.path}", one.reason)
        else:
            yield _document(f"{path}/{one.key}" if one.key else path, one, content)


def _document(path: str, found: Extract, content: bytes) -> Document | Rejected:
    found = shortened(found)
    lines = _with_body(found.lines)
    if not lines:
        return Rejected(path, "holds no text below its headings")
    if not is_name(path):
        return Rejected(ascii(path)[1:-1], "has a name that is not text")
    if found.title and not any(line.text == found.title for line in lines if line.kind == "title"):
        lines = [demoted(line) for line in lines]
    title = found.title or named_after(path)
    sha256 = hashlib.sha256(content if found.source is None else found.source).hexdigest()
    return to_document(path, title, lines, sha256, found.fields, found.pages)


def _with_body(lines: list[Line]) -> list[Line]:
    """Where all lines are headings they are what the document says; one title alone is nothing."""
    if any(line.kind not in ("title", "heading") for line in lines):
        return lines
    if len(lines) == 1 and lines[0].kind == "heading" and lines[0].level == 1:
        return []
    return [Line("paragraph", 0, line.text) for line in lines]


def _read_ole(path: str, content: bytes, visit: _Visit) -> Found:
    from indexer.reading.locked import ole_kind, unlocked

    inner = ole_kind(content)
    opened = unlocked(content, visit.rules.passwords) if inner != "msg" else None
    if opened is not None:
        yield from _read(path, opened, visit.inside())
        return
    if inner is None:
        raise Refused(f"is of no kind that can be read ({NAMES})")
    yield from _documents(path, content, _extracts(content, inner, visit))


def _read_zip(path: str, content: bytes, visit: _Visit) -> Found:
    empty = True
    for found in _entries(path, content, visit):
        empty = False
        yield found
    if empty:
        raise Refused("holds no documents")


def _entries(path: str, content: bytes, visit: _Visit) -> Found:
    with open_archive(content) as archive:
        check_sums(archive, visit.budget)
        for plain, entry in readable_names(archive):
            name = f"{path}/{plain}"
            if suffix_of(name) not in KINDS:
                yield Rejected(name, f"is of no kind that can be read ({NAMES})")
                continue
            try:
                inner = read_entry(archive, entry, visit.rules.passwords)
            except Refused as error:
                yield Rejected(name, str(error))
                continue
            yield from _member(name, inner, visit.inside())


def _read_mail(path: str, content: bytes, visit: _Visit) -> Found:
    message = parse_mail(content)
    try:
        yield from _documents(path, content, iter([read_mail(message)]))
    except Refused as error:  # what is attached can be read without the body
        yield Rejected(path, str(error))
    names: set[str] = set()
    for number, (name, inner) in enumerate(attachments(message), start=1):
        unique = name if name not in names else f"{number}-{name}"
        names.add(unique)
        if suffix_of(unique) in KINDS:
            yield from _member(f"{path}/{unique}", inner, visit.inside())
