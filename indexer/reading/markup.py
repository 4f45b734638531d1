"""HTML to clean lines: the main content, without what surrounds it on every page."""

import re
from collections.abc import Iterator
from dataclasses import dataclass, field

from selectolax.lexbor import LexborHTMLParser, LexborNode

from indexer.reading.fields import to_fields
from indexer.reading.layout import Extract, Line, clean
from indexer.reading.main_content import main_content
from indexer.reading.rules import Refused
from indexer.records import BlockKind

_DROPPED = (
    "nav, header, footer, script, style, aside, template, noscript, form, iframe, svg, button,"
    " select, head, [hidden], [aria-hidden=true], [role=navigation], [role=banner],"
    " [role=contentinfo], [role=complementary], [role=search], [class*=crumb]"
)
_BLOCKS = frozenset(
    "address article blockquote body caption center dd details dialog div dl dt fieldset figcaption"
    " figure h1 h2 h3 h4 h5 h6 hgroup hr html legend li main ol p pre search section summary table"
    " tbody tfoot thead tr ul".split()
)
_HEADING = re.compile(r"h([1-6])")
_META = {
    "author": "author",
    "description": "description",
    "keywords": "keywords",
    "date": "date",
    "article:published_time": "date",
    "dc.date": "date",
    "dc.creator": "author",
}
# The parser takes the square of the depth: 100,000 levels are half a minute.
_DEEPEST = 10_000
_NESTING = re.compile(
    r"<(/?)(?:article|b|blockquote|center|div|em|font|i|ol|section|span|strong|table|u|ul)\b", re.I
)


def read_html(text: str) -> Extract:
    """Title (the first h1, else the page's; "" when there is none), lines, what <meta> says.

    Refused: elements within each other that no person wrote.
    """
    if text.count("<") > _DEEPEST and _depth(text) > _DEEPEST:
        raise Refused(f"nests deeper than {_DEEPEST} elements")
    tree = LexborHTMLParser(text)
    title = _text_of(tree.css_first("h1")) or _text_of(tree.css_first("title"))
    fields = to_fields(_stated(tree))
    for node in tree.css(_DROPPED):
        if node.tag not in ("html", "body"):
            node.decompose()
    root = main_content(tree)
    return Extract(title, _Reader().read(root) if root is not None else [], fields)


def _depth(text: str) -> int:
    level = deepest = 0
    for match in _NESTING.finditer(text):
        level = max(level - 1, 0) if match.group(1) else level + 1
        deepest = max(deepest, level)
    return deepest


def _stated(tree: LexborHTMLParser) -> dict[str, str]:
    found: dict[str, str] = {}
    for node in tree.css("meta[content]"):
        name = node.attributes.get("name") or node.attributes.get("property") or ""
        field_name = _META.get(name.lower())
        if field_name:
            found.setdefault(field_name, node.attributes.get("content") or "")
    root = tree.root
    language = root.attributes.get("lang") if root is not None else None
    return {**found, "language": language} if language else found


def _text_of(node: LexborNode | None) -> str:
    return clean(node.text()) if node is not None else ""


@dataclass(slots=True)
class _Reader:
    """Walks the tree without recursion, for pages nest deeper than Python's stack.

    `kinds` holds what each open block makes of its text; `pending` the text not yet a line.
    """

    lines: list[Line] = field(default_factory=list)
    pending: list[str] = field(default_factory=list)
    kinds: list[tuple[BlockKind, int]] = field(default_factory=lambda: [("paragraph", 0)])

    def read(self, root: LexborNode) -> list[Line]:
        for node, entering in _walk(root):
            if node.tag == "-text":
                self.pending.append(node.text(deep=False))
            elif self.kinds[-1][0] == "row" and node.tag != "tr":
                self._inside_row(node, entering)
            elif node.tag == "br":
                self.pending.append("\n")
            elif node.tag in _BLOCKS:
                self._block(node, entering)
        self._flush()
        return self.lines

    def _inside_row(self, node: LexborNode, entering: bool) -> None:
        # Cells are told apart; paragraphs within a cell are not: a row stays one line.
        if node.tag in ("td", "th"):
            self.pending.append("" if entering else "\x1f")
        elif node.tag in _BLOCKS or node.tag == "br":
            self.pending.append(" ")

    def _block(self, node: LexborNode, entering: bool) -> None:
        self._flush()
        if entering:
            self.kinds.append(self._kind_of(node))
        else:
            self.kinds.pop()

    def _kind_of(self, node: LexborNode) -> tuple[BlockKind, int]:
        kind, level = self.kinds[-1]
        heading = _HEADING.fullmatch(node.tag or "")
        if heading:
            return "heading", int(heading.group(1))
        if node.tag in ("ul", "ol"):
            return kind, level + 1
        if node.tag == "li":
            return "item", max(level, 1)
        if node.tag == "pre":
            return "code", level
        if node.tag == "tr" and node.css_first("table, h1, h2, h3, h4") is None:
            return "row", level
        return kind, level

    def _flush(self) -> None:
        text, (kind, level) = "".join(self.pending), self.kinds[-1]
        self.pending.clear()
        if kind == "row":
            cells = [clean(cell) for cell in text.split("\x1f")]
            pieces = [" | ".join(cell for cell in cells if cell)]
        elif kind == "code":
            pieces = [clean(piece) for piece in text.split("\n")]
        else:
            pieces = [clean(text)]
        self.lines.extend(Line(kind, level, piece) for piece in pieces if piece)


def _walk(root: LexborNode) -> Iterator[tuple[LexborNode, bool]]:
    """Every node, entered and (elements only) left, in the order of the page."""
    stack: list[tuple[LexborNode, bool]] = [(root, True)]
    while stack:
        node, entering = stack.pop()
        yield node, entering
        if not entering or node.tag == "-text":
            continue
        stack.append((node, False))
        children = list(node.iter(include_text=True))
        stack.extend((child, True) for child in reversed(children))
