"""Bytes to text, whatever encoding they are in; what is binary is refused."""

import codecs
import re
from collections.abc import Iterator

from indexer.reading.rules import Refused

_MARKS = (
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
_DECLARED = re.compile(
    rb"""<(?:meta|\?xml)[^>]{0,200}?(?:charset|encoding)\s*=\s*["']?([\w.:-]+)"""
)
_CONTROL = re.compile("[\x00-\x06\x0e-\x1a\x1c-\x1f]")
_SAMPLE = 128 * 1024


def declared_in(markup: bytes) -> str:
    """The encoding that HTML or XML says it is in; "" where it does not."""
    found = _DECLARED.search(markup[:4096].lower())
    return found.group(1).decode() if found else ""


def decode(content: bytes, declared: str = "") -> tuple[str, str]:
    """The text and the name of the encoding taken, "utf-8" the usual one. Refused: binary."""
    for text, name in _attempts(content, declared):
        if text is not None:
            return _checked(text), name
    raise Refused("is not text in any encoding that is known")


def _attempts(content: bytes, declared: str) -> Iterator[tuple[str | None, str]]:
    for mark, encoding in _MARKS:
        if content.startswith(mark):
            yield _decoded(content, encoding), encoding.removesuffix("-sig")
            break
    if b"\0" in content:  # before UTF-8: English in UTF-16 is UTF-8 too, every other byte a NUL
        for encoding in ("utf-16-le", "utf-16-be"):
            yield _wide(content, encoding), encoding
        raise Refused("is not text: it holds NUL bytes")
    yield _decoded(content, "utf-8"), "utf-8"
    if declared:
        yield _decoded(content, declared), declared
    yield _nearly_utf8(content), "utf-8"
    guess = _guess(content)
    yield _decoded(content, guess) if guess else None, guess


def _decoded(content: bytes, encoding: str) -> str | None:
    try:
        return content.decode(encoding)
    except (UnicodeDecodeError, LookupError):
        return None


def _wide(content: bytes, encoding: str) -> str | None:
    """UTF-16 without a mark: every other byte of the commonest characters is zero."""
    high = content[1::2] if encoding == "utf-16-le" else content[0::2]
    text = _decoded(content, encoding) if high[:2000].count(0) * 3 > len(high[:2000]) else None
    return text if text is not None and "\0" not in text else None


def _nearly_utf8(content: bytes) -> str | None:
    """A few broken bytes in a text full of good sequences: cut, or pasted from elsewhere."""
    text = content.decode("utf-8", errors="replace")
    broken = text.count("\ufffd")
    beyond = sum(sign > "\x7f" for sign in text[:_SAMPLE]) - broken
    return text if broken * 20 <= beyond else None


def _guess(content: bytes) -> str:
    import chardet  # only what is not UTF-8 pays for it

    return chardet.detect(content[:_SAMPLE])["encoding"] or ""


def _checked(text: str) -> str:
    if "\0" in text:
        raise Refused("is not text: it holds NUL bytes")
    sample = text[:_SAMPLE]
    if len(_CONTROL.findall(sample)) * 20 > len(sample):
        raise Refused("is not text: it is full of control characters")
    return text
