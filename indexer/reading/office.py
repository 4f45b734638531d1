"""Office formats that kreuzberg reads: its tree of a document to lines.

The only module that loads it. It fetches nothing, recognises no pictures and uses one thread.
"""

from collections.abc import Iterator, Mapping
from typing import Any

from indexer.reading.fields import to_fields
from indexer.reading.kinds import Kind
from indexer.reading.layout import Extract, Line, clean
from indexer.reading.plaintext import read_text
from indexer.reading.rules import MAX_NESTING, Refused
from indexer.records import BlockKind, Value

_MIME: dict[Kind, str] = {
    "docx": "application/vnd.openxmlformats-officedocument.wordprocessingml.document",
    "odt": "application/vnd.oasis.opendocument.text",
    "rtf": "application/rtf",
    "epub": "application/epub+zip",
    "msg": "application/vnd.ms-outlook",
    "doc": "application/msword",
    "ppt": "application/vnd.ms-powerpoint",
}
_LEFT_OUT = ("header", "footer")
_KINDS: dict[str, BlockKind] = {"list_item": "item", "code": "code"}
_STATED = {
    "authors": "author",
    "created_at": "created",
    "modified_at": "modified",
    "subject": "subject",
    "keywords": "keywords",
    "description": "description",
    "language": "language",
    "publisher": "publisher",
    "from_email": "from",
    "to_emails": "to",
    "cc_emails": "cc",
}


def read_office(content: bytes, kind: Kind) -> Extract:
    """Refused: damaged, locked, or of a form that the library does not know."""
    import kreuzberg  # 100 MB of code: only a process that meets such a file pays for it

    config = kreuzberg.ExtractionConfig(
        use_cache=False,
        enable_quality_processing=False,
        include_document_structure=True,
        output_format="plain",
        concurrency=kreuzberg.ConcurrencyConfig(max_threads=1),
    )
    try:
        found = kreuzberg.extract_bytes_sync(content, _MIME[kind], config)
    except (kreuzberg.KreuzbergError, RuntimeError, ValueError, OSError) as error:
        raise Refused(_reason(str(error))) from error
    stated: Mapping[str, Any] = found.metadata
    title = clean(
        str(stated.get("title") or (stated.get("subject") if kind == "msg" else "") or "")
    )
    nodes = found.document["nodes"] if found.document else []
    lines = list(_lines(nodes))
    if kind == "msg":  # a mail's body is one node, with its lines as they were typed
        lines = [one for node in nodes for one in read_text(node["content"].get("text", "")).lines]
    return Extract(title or _opening_heading(lines), lines, _fields(stated))


def _opening_heading(lines: list[Line]) -> str:
    first = lines[0] if lines else None
    return first.text if first and first.kind == "heading" and first.level == 1 else ""


def _reason(error: str) -> str:
    if "password" in error.lower() or "encrypt" in error.lower():
        return "is protected by a password"
    return f"is damaged: {clean(error)[:200]}"


def _fields(stated: Mapping[str, Any]) -> dict[str, Value]:
    return to_fields({name: stated[key] for key, name in _STATED.items() if stated.get(key)})


def _lines(nodes: list[Any]) -> Iterator[Line]:
    for node in nodes:
        content = node["content"]
        kind = content["node_type"]
        if node.get("content_layer") in _LEFT_OUT or kind in ("group", "image", "metadata_block"):
            continue
        if kind == "table":
            yield from _rows(content["grid"])
        elif kind == "slide":
            yield from _made("heading", 2, content.get("title") or "")
        elif kind == "heading":
            yield from _made("heading", int(content["level"]), content["text"])
        elif "text" in content:
            level = _list_level(nodes, node) if kind == "list_item" else 0
            yield from _made(_KINDS.get(kind, "paragraph"), level, content["text"])


def _made(kind: BlockKind, level: int, text: str) -> Iterator[Line]:
    """Of code, a line for each of its own."""
    for piece in text.split("\n") if kind == "code" else [text]:
        if cleaned := clean(piece):
            yield Line(kind, level, cleaned)


def _list_level(nodes: list[Any], node: Any) -> int:
    level = 0
    for _ in range(MAX_NESTING):
        above = node.get("parent")
        if above is None:
            break
        node = nodes[above]
        level += node["content"]["node_type"] == "list"
    return max(level, 1)


def _rows(grid: Mapping[str, Any]) -> Iterator[Line]:
    rows: dict[int, list[str]] = {}
    for cell in sorted(grid["cells"], key=lambda cell: (cell["row"], cell["col"])):
        if text := clean(cell["content"]):
            rows.setdefault(cell["row"], []).append(text)
    for cells in rows.values():
        yield Line("row", 0, " | ".join(cells))
