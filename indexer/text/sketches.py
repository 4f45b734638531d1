"""What is kept of a text to tell whether another is like it, and the rule that tells.

The only module that imports rensa, and only where near duplicates are looked for.
"""

import hashlib
import re
import zlib
from array import array
from typing import NamedTuple

# Part of what decides which chunks a snapshot holds: raise it when a sketch or the rule changes.
SKETCH_VERSION = "2"

_SHORT = 8
_ALONE = 25
_SHINGLE = 3
_SLOTS = 32
_SEED = 7
_MISSED = 1e-3
_DIGEST = 16
_HEAD = 2 * _DIGEST
_REMEMBERED = 100_000

_WORD = re.compile(r"\w+")
_EDGE = "\"'“”‘’«»()[]{},.;:!?…•*_`"  # noqa: RUF001
_BRACKETS = "()[]{}*_`•"
_TELLING = frozenset(
    "no not nor never none neither without cannot unless except only but all any each every both"
    " either some most many few more less least fewer must shall should may might can could will"
    " would if or before after until since within over under above below between from to up down in"
    " out on off left right high low increase decrease include exclude one two three four five six"
    " seven eight nine ten eleven twelve hundred thousand million billion half double first second"
    " third last next daily weekly monthly yearly once twice minimum maximum".split()
)


class _Word(NamedTuple):
    """What a word between blanks comes to: a number for each run of letters or digits in it, the
    word without the punctuation around it, whether it holds a number and whether it tells."""

    numbers: bytes
    bare: str
    is_number: bool
    tells: bool


class _Words(dict[str, _Word]):
    """Of the words met so far; beyond number it begins anew."""

    def __missing__(self, piece: str) -> _Word:
        if len(self) >= _REMEMBERED:
            self.clear()
        runs = _WORD.findall(piece.casefold())
        numbers = array("I", [zlib.crc32(run.encode()) for run in runs])
        bare, is_number = _bare(piece)
        found = _Word(numbers.tobytes(), bare, is_number, is_number or _tells(bare))
        self[piece] = found
        return found


class Sketcher:
    """Makes sketches; remembers words, for most stand in many texts."""

    def __init__(self) -> None:
        self._words = _Words()

    def __call__(self, text: str, context: str = "") -> bytes:
        """All that counts of a text, 32 bytes and 4 for each word: two digests and the words.

        The digests are of the text and of its telling words; one of a few words has the first
        only. What a text of up to 24 words says depends on its `context`, its title and headings
        ("None available." below "Telephone" and below "Fax"), so that is part of its digests.
        """
        pieces, known = text.split(), self._words
        words = [known[piece] for piece in pieces]
        numbers = b"".join([word.numbers for word in words])
        above = context if len(numbers) < 4 * _ALONE else ""
        digest = _digest("\0".join([above, *pieces]))
        if len(numbers) < 4 * _SHORT:
            return digest
        return digest + _digest("\0".join([above, *_telling(words)])) + numbers


def sketch(text: str, context: str = "") -> bytes:
    """Of a single text."""
    return Sketcher()(text, context)


def equal_key(sketched: bytes) -> int:
    """32 bits that equal texts share."""
    return int.from_bytes(sketched[:4], "big")


def telling_key(sketched: bytes) -> int | None:
    """32 bits that texts alike share; none for a short text, which is like its equal only."""
    return int.from_bytes(sketched[_DIGEST : _DIGEST + 4], "big") if len(sketched) > _HEAD else None


def band_keys(sketched: bytes, near: float) -> list[int]:
    """32 bits for each band of the MinHash signature of a text that is not short.

    Two texts that are alike share one, but for one pair in a thousand. Telling words are part of
    every shingle: texts that are alike but for those share none.
    """
    from rensa import RMinHash

    telling, words = sketched[_DIGEST:_HEAD], sketched[_HEAD:]
    minhash = RMinHash(num_perm=_SLOTS, seed=_SEED)
    minhash.update([telling + words[4 * i : 4 * (i + _SHINGLE)] for i in _starts(len(words) // 4)])
    slots = minhash.digest()
    size = slots_per_band(near)
    bands = [repr((start, slots[start : start + size])) for start in range(0, _SLOTS, size)]
    return [zlib.crc32(band.encode()) for band in bands]


def slots_per_band(near: float) -> int:
    """The most that overlook no more than one pair in a thousand whose similarity is `near`."""
    sizes = (size for size in (8, 4, 2) if (1 - near**size) ** (_SLOTS // size) <= _MISSED)
    return next(sizes, 1)


def alike(one: bytes, other: bytes, near: float) -> bool:
    """Whether the texts of two sketches say the same; `indexer.text.duplicates` states the rule."""
    if one[:_DIGEST] == other[:_DIGEST]:
        return True
    if min(len(one), len(other)) <= _HEAD or one[_DIGEST:_HEAD] != other[_DIGEST:_HEAD]:
        return False
    shorter, longer = sorted((array("I", one[_HEAD:]), array("I", other[_HEAD:])), key=len)
    rest = iter(longer)
    if near == 1.0 or not all(word in rest for word in shorter):
        return False
    mine, its = _triples(shorter), _triples(longer)
    return len(mine & its) >= near * len(mine | its)


def _telling(found: list[_Word]) -> list[str]:
    """The words of a text that make it another statement where they differ, in order."""
    words = [word for word in found if word.bare]
    numbers = [i for i, word in enumerate(words) if word.is_number]
    if not numbers:
        return [word.bare for word in words if word.tells]
    beside = {place for i in numbers for place in (i - 1, i + 1)}
    return [word.bare for i, word in enumerate(words) if word.tells or i in beside]


def _tells(word: str) -> bool:
    if word in _TELLING or not word.islower():
        return True
    return word.endswith(("n't", "n’t"))  # noqa: RUF001


def _bare(word: str) -> tuple[str, bool]:
    """A word without the punctuation at its ends, and whether it is or holds a number."""
    bare = word.strip(_EDGE)
    if bare.isalpha() or not any(map(str.isnumeric, bare)):
        return bare, False
    # Signs stay with a number: "(5)" is minus five in an account.
    around = word.strip(_EDGE.translate(str.maketrans("", "", _BRACKETS)))
    return around, True


def _triples(words: "array[int]") -> set[tuple[int, ...]]:
    return {tuple(words[i : i + _SHINGLE]) for i in _starts(len(words))}


def _starts(words: int) -> range:
    return range(words - _SHINGLE + 1)


def _digest(text: str) -> bytes:
    return hashlib.blake2b(text.encode(), digest_size=_DIGEST).digest()
