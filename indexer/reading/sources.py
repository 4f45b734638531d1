"""The documents of a domain, as they lie on disk.

Reads and cleans; decides nothing about what has changed. What cannot be read is handed on as
Rejected with its reason, so that one bad file does not stop the others.
"""

import hashlib
import json
import os
from collections.abc import Callable, Iterator
from pathlib import Path

from indexer.domain import Domain
from indexer.errors import BadInput
from indexer.reading.examples import read_demonstrations
from indexer.reading.layout import Line, clean, to_document
from indexer.reading.markup import read_html, read_markdown
from indexer.reading.plaintext import read_text
from indexer.records import Document, Rejected

__all__ = ["read_demonstrations", "read_documents"]

MAX_BYTES = 32 * 1024 * 1024

# Part of what decides whether a stored document is still good: raise it when reading changes.
READER_VERSION = "1"

Parser = Callable[[str], tuple[str, list[Line]]]

_PARSERS: dict[str, Parser] = {
    ".md": read_markdown,
    ".markdown": read_markdown,
    ".html": read_html,
    ".htm": read_html,
    ".txt": read_text,
    ".text": read_text,
}
_KINDS = ", ".join([*_PARSERS, ".jsonl"])


def read_documents(domain: Domain) -> Iterator[Document | Rejected]:
    """Every document in order of path. BadInput: a path does not exist, or holds no document."""
    seen: set[str] = set()
    for entry in domain.documents.paths:
        for document in _read_entry(domain.folder / entry):
            if isinstance(document, Document) and document.path in seen:
                yield Rejected(document.path, "another document has this path")
            else:
                seen.add(document.path)
                yield document
    if not seen:
        folders = ", ".join(str(domain.folder / entry) for entry in domain.documents.paths)
        raise BadInput(f"There are no documents in {folders}", f"Put files there: {_KINDS}")


def _read_entry(entry: Path) -> Iterator[Document | Rejected]:
    """`entry` is a folder, or one file; a document's path is relative to it, or its name."""
    if entry.is_file():
        yield from _read_file(entry, entry.name)
    elif entry.is_dir():
        for file in _files(entry):
            yield from _read_file(file, file.relative_to(entry).as_posix(), entry)
    else:
        raise BadInput(
            f"The document folder {entry} does not exist",
            "Create it, or correct `documents.paths` in domain.toml",
        )


def _files(folder: Path) -> list[Path]:
    """Files and links below `folder` by path, hidden ones left out, no link to a folder entered."""
    found: list[Path] = []
    for parent, folders, names in os.walk(folder):
        folders[:] = [name for name in folders if not name.startswith(".")]
        links = [name for name in folders if Path(parent, name).is_symlink()]
        found.extend(Path(parent, name) for name in [*names, *links] if not name.startswith("."))
    return sorted(found, key=lambda file: file.relative_to(folder).parts)


def _read_file(file: Path, path: str, root: Path | None = None) -> Iterator[Document | Rejected]:
    reason = _refusal(file, path, root)
    if reason:
        yield Rejected(path.encode(errors="backslashreplace").decode(), reason)
        return
    try:
        content = file.read_bytes()
        text = content.decode("utf-8-sig")
    except OSError as error:
        yield Rejected(path, f"cannot be read: {error.strerror or error}")
    except UnicodeDecodeError as error:
        yield Rejected(path, f"is not text in UTF-8 (byte {error.start}); convert it")
    else:
        if "\0" in text:
            yield Rejected(path, "is not text: it holds NUL bytes")
        elif file.suffix.lower() == ".jsonl":
            yield from _read_jsonl(path, text)
        else:
            yield _parse(path, text, _PARSERS[file.suffix.lower()], hashlib.sha256(content))


def _refusal(file: Path, path: str, root: Path | None) -> str:
    """Why this file is not even opened; "" when it is."""
    if not path.isprintable() or any("\ud800" <= sign <= "\udfff" for sign in path):
        return "has a name that is not text"
    if root is not None and file.is_symlink():
        if file.is_dir():
            return "is a link to a folder, and those are not followed"
        if not file.resolve().is_relative_to(root.resolve()):
            return "is a link out of the document folder, and those are not followed"
    if not file.is_file():
        return "is not a file"
    if file.suffix.lower() not in (*_PARSERS, ".jsonl"):
        return f"is of no kind that can be read ({_KINDS})"
    if file.stat().st_size > MAX_BYTES:
        return f"is larger than {MAX_BYTES // 1024 // 1024} MiB; split it"
    return ""


def _parse(
    path: str, text: str, parser: Parser, digest: "hashlib._Hash", title: str = ""
) -> Document | Rejected:
    found, lines = parser(text)
    if not any(line.kind not in ("title", "heading") for line in lines):
        return Rejected(path, "holds no text below its headings")
    name = Path(path).stem.replace("-", " ").replace("_", " ")
    named = title or found or clean(name[:1].upper() + name[1:])
    if title:
        lines = [line._replace(kind="heading") if line.kind == "title" else line for line in lines]
    return to_document(path, named, lines, digest.hexdigest())


def _read_jsonl(path: str, text: str) -> Iterator[Document | Rejected]:
    """One document per line: {"id", "title", "text"}; its path is `<file>/<id>`."""
    for number, line in enumerate(text.split("\n"), start=1):
        if not line.strip():
            continue
        try:
            row = _string_fields(line)
        except ValueError as error:
            yield Rejected(f"{path}:{number}", str(error))
            continue
        name = clean(row.get("id", str(number)))
        digest = hashlib.sha256(line.encode())
        yield _parse(f"{path}/{name}", row["text"], read_text, digest, clean(row.get("title", "")))


def _string_fields(line: str) -> dict[str, str]:
    row = json.loads(line)
    if not isinstance(row, dict) or "text" not in row:
        raise ValueError('is not an object with a "text"')
    for key in ("id", "title", "text"):
        value = row.get(key, "")
        if not isinstance(value, str) or any("\ud800" <= sign <= "\udfff" for sign in value):
            raise ValueError(f'"{key}" is not a text')
    return {key: row[key] for key in ("id", "title", "text") if key in row}
