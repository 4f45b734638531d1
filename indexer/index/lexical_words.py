"""Text to the words that BM25 counts: lower case, no English stop words, Snowball's stems.

Any script works: what is not English keeps its words as they stand, and Chinese and Japanese,
which write no spaces, are taken two characters at a time, as Lucene does.
"""

import re
import unicodedata
from collections.abc import Iterable, Iterator

import Stemmer

_WORD = re.compile(r"\w\w+")
_UNSPACED = re.compile("[\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff]+")
# Lucene's list for English.
STOP_WORDS = frozenset(
    "a an and are as at be but by for if in into is it no not of on or such that the their then"
    " there these they this to was will with".split()
)
LANGUAGE = "english"


def words(text: str) -> list[str]:
    """Lower-case words of two characters or more, in order, stop words among them."""
    found: list[str] = _WORD.findall(unicodedata.normalize("NFKC", text).lower())
    if text.isascii():
        return found
    return [part for word in found for part in _parts(word)]


def _parts(word: str) -> Iterable[str]:
    return _pairs(word) if not word.isascii() and _UNSPACED.search(word) else (word,)


def _pairs(word: str) -> Iterator[str]:
    at = 0
    for run in _UNSPACED.finditer(word):
        yield from filter(None, (word[at : run.start()],))
        characters = run.group()
        yield from (characters[i : i + 2] for i in range(max(1, len(characters) - 1)))
        at = run.end()
    yield from filter(None, (word[at:],))


class Stems:
    """Words to what stands in the index: their stem, or "" for a stop word; for many threads."""

    def __init__(self) -> None:
        # Without its cache a stemmer has no state that a second thread could meet half changed.
        self._stemmer = Stemmer.Stemmer(LANGUAGE, 0)

    def stem(self, word: str) -> str:
        return "" if word in STOP_WORDS else str(self._stemmer.stemWord(word))

    def of(self, text: str) -> list[str]:
        """The stems of a text, in order, as often as they occur."""
        return [stem for stem in map(self.stem, words(text)) if stem]
