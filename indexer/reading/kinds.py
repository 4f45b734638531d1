"""Which kinds of files are read: by their names before they are opened, by their bytes after."""

import io
import re
import zipfile
from typing import Literal, TypeAlias

from indexer.reading.archive import DAMAGED
from indexer.reading.rules import Refused

Kind: TypeAlias = Literal[
    "markdown", "mdx", "html", "text", "csv", "tsv", "json", "jsonl", "mail", "mbox",
    "pdf", "docx", "pptx", "xlsx", "xls", "ods", "odt", "rtf", "epub", "msg", "doc", "ppt", "zip",
    "ole", "any",
]  # fmt: skip

_SUFFIXES: dict[Kind, str] = {
    "markdown": ".md .markdown",
    "mdx": ".mdx",
    "html": ".html .htm .xhtml",
    "text": ".txt .text .log .rst .adoc .asciidoc .org",
    "csv": ".csv",
    "tsv": ".tsv .tab",
    "json": ".json",
    "jsonl": ".jsonl .ndjson",
    "mail": ".eml",
    "mbox": ".mbox",
    "pdf": ".pdf",
    "docx": ".docx .docm .dotx",
    "pptx": ".pptx .pptm .ppsx",
    "xlsx": ".xlsx .xlsm",
    "xls": ".xls",
    "ods": ".ods",
    "odt": ".odt",
    "rtf": ".rtf",
    "epub": ".epub",
    "msg": ".msg",
    "doc": ".doc",
    "ppt": ".ppt",
    "zip": ".zip",
}
KINDS: dict[str, Kind] = {
    suffix: kind for kind, suffixes in _SUFFIXES.items() for suffix in suffixes.split()
}
KINDS[""] = "any"
# For the reason of a rejection: what a person would have to know.
NAMES = ", ".join(suffix for suffix in KINDS if suffix)

_TEXTUAL: frozenset[Kind] = frozenset(
    ("markdown", "mdx", "html", "text", "csv", "tsv", "json", "jsonl", "mail", "mbox", "any")
)
_OPEN_DOCUMENT: tuple[tuple[bytes, Kind], ...] = (
    (b"opendocument.text", "odt"),
    (b"opendocument.spreadsheet", "ods"),
    (b"epub", "epub"),
)
_OFFICE: tuple[tuple[str, Kind], ...] = (("word/", "docx"), ("ppt/", "pptx"), ("xl/", "xlsx"))
_HTML = re.compile(
    rb"\s*(?:<\?xml[^>]*>\s*)?(?:<!--.*?-->\s*)?<(?:!doctype html|html)", re.I | re.S
)
_MAIL = re.compile(rb"(?:[A-Za-z][A-Za-z0-9-]*: ?[^\n]*\n(?:[ \t][^\n]*\n)*){3,}")
_MAIL_NAMES = re.compile(rb"^(?:from|received|message-id|return-path|subject):", re.I | re.M)


def suffix_of(path: str) -> str:
    """In lower case with its dot; "" where the name has none."""
    name = path.rpartition("/")[2]
    stem, dot, suffix = name.rpartition(".")
    return f".{suffix.lower()}" if dot and stem else ""


def kind_of(path: str, content: bytes) -> Kind:
    """Bytes that can be only one kind decide, then the name. Refused: they contradict it."""
    named = KINDS[suffix_of(path)]
    head = content[:1024]
    if head.startswith(b"%PDF-") or (named == "pdf" and b"%PDF-" in head):
        return "pdf"
    if head.startswith((b"PK\x03\x04", b"PK\x05\x06")):  # the second where nothing is in it
        return _zip_kind(content)
    if head.startswith(b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1"):
        return "ole"
    if head.startswith(b"{\\rtf"):
        return "rtf"
    if named not in _TEXTUAL:
        raise Refused(f"is damaged or not what its name says: no {named} file begins like this")
    return _textual(head) if named == "any" else named


def _textual(head: bytes) -> Kind:
    if _HTML.match(head):
        return "html"
    mail = _MAIL.match(head)
    return "mail" if mail and _MAIL_NAMES.search(mail.group()) else "text"


def _zip_kind(content: bytes) -> Kind:
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            names = archive.namelist()
            first = names[0] if names else ""
            mark = _beginning(archive, first) if first == "mimetype" else b""
    except (*DAMAGED, RuntimeError) as error:
        raise Refused(f"is damaged: {error}") from error
    for part, kind in _OPEN_DOCUMENT:
        if part in mark:
            return kind
    if "META-INF/container.xml" in names:
        return "epub"
    if "[Content_Types].xml" in names:
        for prefix, kind in _OFFICE:
            if any(name.startswith(prefix) for name in names):
                return kind
    return "zip"


def _beginning(archive: zipfile.ZipFile, name: str) -> bytes:
    with archive.open(name) as part:
        return part.read(200)
