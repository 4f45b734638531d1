"""How numbers are written: LaTeX, powers of ten, signs of fractions, words; made plain to be read.

Pure: text to text, but for `spelled`, which reads a number that stands there in English words.
"""

from __future__ import annotations

import re
import unicodedata
from typing import Final

_FRACTION: Final = re.compile(
    r"(?P<whole>\d\s*)?\\[dt]?frac\s*(?:\{\s*(?P<top>[^{}]+?)\s*\}\s*\{\s*(?P<bottom>[^{}]+?)\s*\}"
    r"|(?P<a>\d)\s*(?P<b>\d))"
)
_SIGN: Final = re.compile(r"(?P<whole>\d\s?)?(?P<sign>[¼-¾⅐-⅞])")
_WORDED: Final = re.compile(r"\\(?:text|mathrm|mathbf|textbf|mbox|operatorname)\s*\{([^{}]*)\}")
_MARKS: Final = re.compile(r"\\[,;!:]|\\ |\\(?:left|right|displaystyle)|\\%|\\\$|\\[()\[\]]|[*_`]")
_POWER: Final = re.compile(
    r"(?<=\d)\s*(?:[x×*]|\\times|\\cdot)\s*10\s*(?:\^|\*\*)\s*\{?\s*([-−]?\d{1,3})\s*\}?"  # noqa: RUF001
)
_MINUS: Final = re.compile(r"(?P<before>^|[^\s\d)%]\s+)(?:minus|negative)\s+(?=[$€£]?[\d.])", re.I)
# A space that never ends a line groups digits; an ordinary one does where nothing else stands by.
_GROUPED: Final = re.compile(r"(?<![\d.,])\d{1,3}(?:[\u00a0\u2009\u202f]\d{3})+(?!\d)")
_ALONE: Final = re.compile(r"[-−$€£\s]*\d{1,3}(?: \d{3})+(?:\.\d+)?[\s.%€£]*")  # noqa: RUF001
_SPACES: Final = re.compile(r"(?<=\d)[ \u00a0\u2009\u202f](?=\d)")

_UNITS: Final = (
    "zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen"
    " sixteen seventeen eighteen nineteen"
).split()
_TENS: Final = "twenty thirty forty fifty sixty seventy eighty ninety".split()
_SMALL: Final = {word: value for value, word in enumerate(_UNITS)} | {
    word: 10 * value for value, word in enumerate(_TENS, 2)
}
_LARGE: Final = {"hundred": 100, "thousand": 1_000, "million": 1_000_000}


def plain(text: str, *, worded: bool = False) -> str:
    """Without LaTeX and Markdown; what stands in `\\text{}` goes too, unless `worded`."""
    text = _WORDED.sub(r" \1 " if worded else " ", text)
    text = _SIGN.sub(_signed, _FRACTION.sub(_over, text))
    text = _POWER.sub(lambda found: f"e{found[1].replace('−', '-')}", text)  # noqa: RUF001
    text = _MARKS.sub(" ", text.replace("{,}", ",").replace(r"\,", "\u202f"))
    text = _MINUS.sub(r"\g<before>-", text)
    if _ALONE.fullmatch(text):
        return _SPACES.sub("", text)
    return _GROUPED.sub(lambda found: _SPACES.sub("", found[0]), text)


def _over(found: re.Match[str]) -> str:
    """A fraction behind a whole number is added to it, not multiplied with ten."""
    whole = f"{found['whole'].strip()} " if found["whole"] else ""
    return f"{whole}{found['top'] or found['a']}/{found['bottom'] or found['b']}"


def _signed(found: re.Match[str]) -> str:
    whole = f"{found['whole'].strip()} " if found["whole"] else ""
    return whole + unicodedata.normalize("NFKC", found["sign"]).replace("\u2044", "/")


def spelled(text: str) -> int | None:
    """The first number in English words, such as "twenty-five" or "one hundred and five"."""
    total, group, seen = 0, 0, False
    for word in re.findall(r"[a-z]+", text.lower()):
        if word in _SMALL:
            group, seen = group + _SMALL[word], True
        elif word in _LARGE and seen:
            size = _LARGE[word]
            total, group = (total, group * size) if size == 100 else (total + group * size, 0)
        elif seen and word != "and":
            break
    return total + group if seen else None
