"""How much of one text stands in another: the words that both have, in order."""

import html
import re


def words(text: str) -> list[str]:
    """In lower case, without what Markdown and HTML are marked up with."""
    text = re.sub(r"<!--.*?-->", " ", html.unescape(text), flags=re.DOTALL)
    text = re.sub(r"\]\([^)\s]*\)|</?[a-zA-Z][^>]*>", " ", text)
    return re.findall(r"[^\W_]+", text.lower())


def in_common(one: list[str], other: list[str]) -> int:
    """Length of the longest common subsequence, by bits (Hyyrö 2004)."""
    places: dict[str, int] = {}
    for place, word in enumerate(one):
        places[word] = places.get(word, 0) | 1 << place
    full = (1 << len(one)) - 1
    row = full
    for word in other:
        match = row & places.get(word, 0)
        row = (row + match | row - match) & full
    return len(one) - row.bit_count()
