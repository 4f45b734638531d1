"""Where sentences begin and end: the spans that can be quoted.

Rules for English, no learned parts: what is quoted must not change with a library's version.
"""

import re

from indexer.records import Sentence

# What follows is looked at afterwards: asked for here, a run of marks that no space follows would
# be tried again from each of its marks.
_END = re.compile(r"[.!?…]+[\"'”’»)\]]*|[。！？]+[”’」』）]*")  # noqa: RUF001
_LINE = re.compile(r"[^\n]+")
_WORD = re.compile(r"[^\s(\[\"'“‘«]*$")  # noqa: RUF001
_NEXT = re.compile(r"\s+[\"'“‘«(\[*•–£$€-]*(\w+)?")  # noqa: RUF001
_ENUMERATOR = re.compile(r"\(?(?:\d+(?:\.\d+)*|[a-zA-Z]|[ivxIVX]+)[.)]")
_INITIALS = re.compile(r"(?:[A-Z]\.)+")

# How far to look around a full stop: a line of a megabyte must not take the square of its length.
_NEAR = 64
_BRACKETS = 600

# A name, a number or a term follows these: they do not end a sentence.
_JOINING = frozenset(
    "mr. mrs. ms. mx. dr. prof. rev. hon. gen. col. capt. lt. sgt. st. mt. messrs. e.g. i.e. eg."
    " ie. cf. viz. vs. v. approx. ca. incl. excl. resp. esp. al. dept. est. tel. ext.".split()
)
# These do not end a sentence where a number follows.
_BEFORE_NUMBER = frozenset(
    "no. nos. nr. art. arts. sec. sect. ch. fig. figs. vol. p. pp. para. paras. cl. eq. ref. tab."
    " jan. feb. mar. apr. jun. jul. aug. sep. sept. oct. nov. dec.".split()
)
# After an initial, one of these tells that a sentence has ended ("vitamin C. The dose ...").
_STARTERS = frozenset(
    "The This That These Those A An It If In On At To For From When Where While After Before Each"
    " Every All Any No Not Do You We They He She There Your Our Their Its His Her Please As By Only"
    " Once Until Unless Both Some Most Many Never Always".split()
)


def split_sentences(text: str) -> list[Sentence]:
    """Ordered spans that hold all of the text but the space between them, none across a line."""
    found: list[Sentence] = []
    for line in _LINE.finditer(text):
        found.extend(_split_line(line.group(), line.start()))
    return found


def _split_line(line: str, offset: int) -> list[Sentence]:
    found: list[Sentence] = []
    start = 0
    for match in _END.finditer(line):
        if _is_end(line, start, match):
            found.append(_stripped(line, start, match.end(), offset))
            start = match.end()
    if line[start:].strip():
        found.append(_stripped(line, start, len(line), offset))
    return found


def _stripped(line: str, start: int, end: int, offset: int) -> Sentence:
    piece = line[start:end]
    lead = len(piece) - len(piece.lstrip())
    return Sentence(offset + start + lead, offset + start + len(piece.rstrip()))


def _is_end(line: str, start: int, match: re.Match[str]) -> bool:
    if match.group()[0] in "。！？":  # noqa: RUF001
        return True
    following = _NEXT.match(line, match.end())
    word = following.group(1) if following else None
    if word is None or word[0].islower():
        return False
    return not _in_brackets(line, start, match.end()) and not _is_joined(line, start, match, word)


def _in_brackets(line: str, start: int, end: int) -> bool:
    start = max(start, end - _BRACKETS)
    opened = line.count("(", start, end) - line.count(")", start, end)
    return opened > 0 and line.count(")", end, end + _BRACKETS) > 0


def _is_joined(line: str, start: int, match: re.Match[str], following: str) -> bool:
    """Whether the full stop belongs to the word before it: an abbreviation or an initial."""
    if match.group() != ".":
        return False
    before = _WORD.search(line, max(start, match.end() - _NEAR), match.end())
    word = before.group() if before else ""
    if match.end() - start < _NEAR and _ENUMERATOR.fullmatch(line[start : match.end()].strip()):
        return True
    if word.lower() in _JOINING:
        return True
    if word.lower() in _BEFORE_NUMBER:
        return following[0].isdigit()
    return bool(_INITIALS.fullmatch(word)) and following not in _STARTERS
