"""Which kinds of files are read, by their names; what a file says it is decides later."""

from typing import Literal, TypeAlias

Kind: TypeAlias = Literal["markdown", "html", "text", "jsonl"]

_SUFFIXES: dict[Kind, str] = {
    "markdown": ".md .markdown",
    "html": ".html .htm",
    "text": ".txt .text",
    "jsonl": ".jsonl",
}
KINDS: dict[str, Kind] = {
    suffix: kind for kind, suffixes in _SUFFIXES.items() for suffix in suffixes.split()
}
# For the reason of a rejection: what a person would have to know.
NAMES = ", ".join(KINDS)


def suffix_of(path: str) -> str:
    """In lower case with its dot; "" where the name has none."""
    name = path.rpartition("/")[2]
    stem, dot, suffix = name.rpartition(".")
    return f".{suffix.lower()}" if dot and stem else ""
