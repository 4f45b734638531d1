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
# An alias repeats what it names: a few lines can stand for gigabytes.
_ALIAS = re.compile(r"(?:^|[\s\[{,:])\*\w", re.MULTILINE)


def read_markdown(text: str) -> Extract:
    """Title ("" when there is none), lines, and the fields of the front matter."""
    text = text.replace("\r\n", "\n").replace("\r", "\n")
    front = _FRONT_MATTER.match(text)
    body = text[front.end() :] if front else text
    found = read_html(MarkdownIt("commonmark").enable("table").render(body))
    stated = _front_matter(front.group(1)) if front else {}
    title = clean(str(stated.get("title") or ""))
    fields: dict[str, Value] = to_fields(stated, without=("title",))
    return Extract(title or found.title, found.lines, fields)


def read_mdx(text: str) -> Extract:
    """Markdown with components: tags go as HTML's do, and so do the lines that import them."""
    head, fence, rest = text.partition("```")
    return read_markdown(_IMPORT.sub("", head) + fence + rest)


def _front_matter(text: str) -> dict[Any, Any]:
    """As YAML; where it is none, the lines that are `name: value`."""
    stated: Any = None
    if not _ALIAS.search(text):
        try:
            stated = yaml.safe_load(text)
        except (yaml.YAMLError, ValueError, RecursionError):
            stated = None
    if isinstance(stated, dict):
        return stated
    return {name.strip().lower(): value.strip("\"' ") for name, value in _PAIR.findall(text)}
