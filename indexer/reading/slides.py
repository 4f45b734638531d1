"""PPTX to lines: a page per slide, in the order of the show, with its tables and notes."""

import posixpath
import xml.etree.ElementTree as ET
import zipfile
from collections.abc import Iterator

from indexer.reading.archive import open_archive, part_tree
from indexer.reading.layout import Extract, Line, clean
from indexer.reading.properties import core_properties
from indexer.reading.rules import Refused
from indexer.records import BlockKind

_A = "{http://schemas.openxmlformats.org/drawingml/2006/main}"
_P = "{http://schemas.openxmlformats.org/presentationml/2006/main}"
_R = "{http://schemas.openxmlformats.org/officeDocument/2006/relationships}"
_C = "{http://schemas.openxmlformats.org/drawingml/2006/chart}"
_STRICT = {
    "http://purl.oclc.org/ooxml/drawingml/main": _A,
    "http://purl.oclc.org/ooxml/presentationml/main": _P,
    "http://purl.oclc.org/ooxml/officeDocument/relationships": _R,
    "http://purl.oclc.org/ooxml/drawingml/chart": _C,
}
_TITLES = ("title", "ctrTitle")
_LEFT_OUT = ("sldNum", "dt", "ftr", "hdr")
_LISTS = ("body", "obj", "")


def read_slides(content: bytes) -> Extract:
    """The title is the file's own, else the first slide's."""
    with open_archive(content) as archive:
        stated = core_properties(archive)
        lines: list[Line] = []
        pages: list[int] = []
        for name in _slide_names(archive):
            pages.append(len(lines))
            lines.extend(_slide(archive, name))
    title = clean(str(stated.pop("title", "")))
    first = next((line.text for line in lines if line.kind == "heading"), "")
    return Extract(
        title if title and title != "PowerPoint Presentation" else first, lines, stated, pages
    )


def _slide_names(archive: zipfile.ZipFile) -> list[str]:
    show = _tree(archive, "ppt/presentation.xml")
    if show is None:
        raise Refused("is damaged: it holds no presentation")
    targets = _relations(archive, "ppt/presentation.xml")
    ids = [entry.get(f"{_R}id", "") for entry in show.iter(f"{_P}sldId")]
    return [targets[one][1] for one in ids if one in targets]


def _relations(archive: zipfile.ZipFile, part: str) -> dict[str, tuple[str, str]]:
    """Id to kind and part; what lies outside the file is not followed, so it is left out."""
    folder, name = posixpath.split(part)
    tree = part_tree(archive, f"{folder}/_rels/{name}.rels")
    found: dict[str, tuple[str, str]] = {}
    for relation in tree if tree is not None else ():
        if relation.get("TargetMode") != "External":
            target = posixpath.normpath(posixpath.join("/" + folder, relation.get("Target", "")))
            kind = relation.get("Type", "").rpartition("/")[2]
            found[relation.get("Id", "")] = (kind, target.lstrip("/"))
    return found


def _tree(archive: zipfile.ZipFile, name: str) -> ET.Element | None:
    """With the names of the strict form of the format as in the usual one."""
    tree = part_tree(archive, name)
    for element in tree.iter() if tree is not None else ():
        space, brace, local = element.tag.partition("}")
        if brace and space[1:] in _STRICT:
            element.tag = _STRICT[space[1:]] + local
    return tree


def _slide(archive: zipfile.ZipFile, name: str) -> Iterator[Line]:
    tree = _tree(archive, name)
    if tree is None:
        return
    relations = _relations(archive, name)
    for element in tree.iter():
        if element.tag == f"{_P}sp":
            yield from _shape(element)
        elif element.tag == f"{_A}tbl":
            yield from _table(element)
        elif element.tag == f"{_C}chart" and element.get(f"{_R}id") in relations:
            yield from _chart(archive, relations[element.get(f"{_R}id", "")][1])
    for kind, target in relations.values():
        if kind == "notesSlide":
            yield from _notes(archive, target)


def _shape(shape: ET.Element) -> Iterator[Line]:
    place = shape.find(f".//{_P}ph")
    part = place.get("type", "") if place is not None else None
    if part in _LEFT_OUT:
        return
    if part in _TITLES:
        text = clean(" ".join(_text(p) for p in shape.iter(f"{_A}p")))
        if text:
            yield Line("heading", 2, text)
        return
    for paragraph in shape.iter(f"{_A}p"):
        if text := clean(_text(paragraph)):
            yield Line(*_kind(paragraph, part), text)


def _kind(paragraph: ET.Element, part: str | None) -> tuple[BlockKind, int]:
    form = paragraph.find(f"{_A}pPr")
    level = int(form.get("lvl", "0")) if form is not None and form.get("lvl", "").isdigit() else 0
    bulleted = form is not None and any(
        form.find(f"{_A}{name}") is not None for name in ("buChar", "buAutoNum", "buBlip")
    )
    if bulleted or level or part in _LISTS:
        return "item", level + 1
    return "paragraph", 0


def _text(paragraph: ET.Element) -> str:
    pieces = {f"{_A}t": None, f"{_A}br": " ", f"{_A}tab": " "}
    return "".join((pieces[e.tag] or e.text or "") for e in paragraph.iter() if e.tag in pieces)


def _table(table: ET.Element) -> Iterator[Line]:
    for row in table.iter(f"{_A}tr"):
        cells = [
            clean(" ".join(_text(p) for p in cell.iter(f"{_A}p"))) for cell in row.iter(f"{_A}tc")
        ]
        text = " | ".join(cell for cell in cells if cell)
        if text:
            yield Line("row", 0, text)


def _chart(archive: zipfile.ZipFile, name: str) -> Iterator[Line]:
    """Its title, then a row for each category with the value of every series."""
    tree = _tree(archive, name)
    if tree is None:
        return
    title = tree.find(f".//{_C}title")
    text = clean(" ".join(_text(p) for p in title.iter(f"{_A}p"))) if title is not None else ""
    if text:
        yield Line("paragraph", 0, text)
    columns: dict[str, list[str]] = {}
    for series in tree.iter(f"{_C}ser"):
        name = next(iter(_values(series.find(f"{_C}tx"))), "")
        for place, value in zip(
            _values(series.find(f"{_C}cat")), _values(series.find(f"{_C}val")), strict=False
        ):
            columns.setdefault(place, [place]).append(f"{name}: {value}" if name else value)
    for cells in columns.values():
        yield Line("row", 0, clean(" | ".join(cells)))


def _values(holder: ET.Element | None) -> list[str]:
    return [clean(v.text or "") for v in holder.iter(f"{_C}v")] if holder is not None else []


def _notes(archive: zipfile.ZipFile, name: str) -> Iterator[Line]:
    tree = _tree(archive, name)
    for shape in tree.iter(f"{_P}sp") if tree is not None else ():
        place = shape.find(f".//{_P}ph")
        if place is not None and place.get("type") == "body":
            for paragraph in shape.iter(f"{_A}p"):
                if text := clean(_text(paragraph)):
                    yield Line("paragraph", 0, text)
