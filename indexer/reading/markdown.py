"""Markdown to clean lines, and its front matter to fields."""

import re
from typing import Any

import yaml
from markdown_it import MarkdownIt

from indexer.reading.fields import to_fields
from indexer.reading.layout import Extract, clean
from indexer.reading.markup import read_html
from indexer.records import Value

_FRONT_MATTER = re.compile(r"\A---[ \t]*\n(.*?)\n(?:---|\.\.\.)[ \t]*(?:\n|\Z)", re.DOTALL)
_PAIR = re.compile(r"^([A-Za-z][\w -]*):[ \t]*(.*)$", re.MULTILINE)
_IMPORT = re.compile(r"^import [^\n]*(?:from )?['\"][^'\"\n]+['\"];?[ \t]*$", re.MULTILINE)
# What PyYAML raises at values that are not what they are tagged as, beside its own errors.
_NO_YAML = (
    yaml.YAMLError,
    ValueError,
    LookupError,
    ArithmeticError,
    AttributeError,
    TypeError,
    RecursionError,
)
# Levels of lists and quotes, two of them a list; what lies deeper the parser leaves out.
_DEEPEST = 100
# An alias repeats what it names: a few lines can stand for gigabytes.
_ALIAS = re.compile(r"(?:^|[\s\[{,:])\*\w", re.MULTILINE)


def read_markdown(text: str) -> Extract:
    """Title ("" when there is none), lines, and the fields of the front matter."""
    text = text.replace("\r\n", "\n").replace("\r", "\n")
    stated, body = _parted(text)
    parser = MarkdownIt("commonmark", {"maxNesting": _DEEPEST}).enable("table")
    found = read_html(parser.render(body))
    title = clean(str(stated.get("title") or ""))
    fields: dict[str, Value] = to_fields(stated, without=("title",))
    return Extract(title or found.title, found.lines, fields)


def read_mdx(text: str) -> Extract:
    """Markdown with components: tags go as HTML's do, and so do the lines that import them."""
    head, fence, rest = text.partition("```")
    return read_markdown(_IMPORT.sub("", head) + fence + rest)


def _parted(text: str) -> tuple[dict[Any, Any], str]:
    """The front matter, and what comes below it: a text between two rules is part of the page."""
    front = _FRONT_MATTER.match(text)
    stated = _front_matter(front.group(1)) if front else {}
    if front and (stated or not front.group(1).strip()):
        return stated, text[front.end() :]
    return {}, text


def _front_matter(text: str) -> dict[Any, Any]:
    """As YAML; where it is none, the lines that are `name: value`."""
    stated: Any = None
    if not _ALIAS.search(text):
        try:
            stated = yaml.safe_load(text)
        except _NO_YAML:
            stated = None
    if isinstance(stated, dict):
        return stated
    return {name.strip().lower(): value.strip("\"' ") for name, value in _PAIR.findall(text)}
