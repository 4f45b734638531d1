"""Which part of a page is what it is about; the rest stands on every page of the site."""

from selectolax.lexbor import LexborHTMLParser, LexborNode

from indexer.reading.layout import clean

_LONG = 50  # characters of a paragraph that says something
_ENOUGH = 500  # characters of such paragraphs, below which nothing can be told
_MOST = 0.85  # of those paragraphs' text, to be the part that holds them
_LEFT = 0.3  # of the part's own text: more than this outside of it, and it is not all that matters
_DEEPEST = 200


def main_content(tree: LexborHTMLParser) -> LexborNode | None:
    """What the page marks as its main part or its only article, else where its paragraphs are."""
    for selector in ("main, [role=main]", "article"):
        found = tree.css(selector)
        if len(found) == 1 and clean(found[0].text()):
            return found[0]
    body = tree.body
    # A page without a few boxes has no surroundings to tell apart.
    return body if body is None or len(body.css("div, section, table")) < 3 else _densest(body)


def _densest(body: LexborNode) -> LexborNode:
    """The smallest part that holds most of the long paragraphs; the body where much lies outside.

    A part too many costs a search little, one too few costs an answer.
    """
    weights = _weights(body)
    total = weights.get(body.mem_id, 0)
    if total < _ENOUGH:
        return body
    part = body
    while inner := _heavy_child(part, weights, _MOST * total):
        part = inner
    inside, everything = _plain(part), _plain(body)
    return part if everything - inside <= _LEFT * inside else body


def _heavy_child(part: LexborNode, weights: dict[int, int], least: float) -> LexborNode | None:
    children = (one for one in part.iter() if one.tag not in ("p", "td", "li"))
    return next((one for one in children if weights.get(one.mem_id, 0) >= least), None)


def _weights(body: LexborNode) -> dict[int, int]:
    """For each element the characters of the long paragraphs within it."""
    found: dict[int, int] = {}
    for paragraph in body.css("p"):
        length = _plain(paragraph)
        if length < _LONG:
            continue
        above: LexborNode | None = paragraph.parent
        for _ in range(_DEEPEST):
            if above is None:
                break
            found[above.mem_id] = found.get(above.mem_id, 0) + length
            above = above.parent if above.mem_id != body.mem_id else None
    return found


def _plain(node: LexborNode) -> int:
    """Characters of text that are not links."""
    links = sum(len(link.text(strip=True)) for link in node.css("a"))
    return max(len(" ".join(node.text().split())) - links, 0)
