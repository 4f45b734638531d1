"""Sentences that are longer than a passage may be, cut into pieces."""

import re

from indexer.records import Sentence
from indexer.text.counting import Count

_WORD = re.compile(r"\S+")
# A token of running text is four to five characters. What has far fewer tokens than that is no
# text, and still must not make a passage of a megabyte.
_WIDEST = 16


def cut(text: str, sentence: Sentence, count: Count, longest: int) -> list[Sentence]:
    """The sentence itself if it has at most `longest` tokens, or pieces that have.

    Cut between the cells of a row, else between words; within a word only if it alone is too long.
    """
    short = sentence.end - sentence.start <= _WIDEST * longest
    if short and count(text[sentence.start : sentence.end]) <= longest:
        return [sentence]
    pieces: list[Sentence] = []
    start = sentence.start
    while start < sentence.end:
        end = _piece_end(text, start, sentence.end, count, longest)
        pieces.append(Sentence(start, end))
        start = end + (text[end : end + 1] == " ")
    return pieces


def _piece_end(text: str, start: int, end: int, count: Count, longest: int) -> int:
    """The end of the longest piece from `start` that fits."""
    reach = min(end, start + _WIDEST * longest)
    fits, total = start, 0
    for word in _WORD.finditer(text, start, reach):
        if word.end() == reach < end and text[reach] != " ":
            break  # only a part of the word is in reach
        total += count(word.group())
        if total > longest:
            break
        fits = word.end()
    while fits > start and count(text[start:fits]) > longest:  # words do not always add up
        fits = max(start, text.rfind(" ", start, fits))
    if fits == start:
        return _within_word(text, start, reach, count, longest)
    cell = text.rfind(" |", start + (fits - start) // 2, fits)
    return cell + 2 if fits < end and cell >= 0 else fits


def _within_word(text: str, start: int, reach: int, count: Count, longest: int) -> int:
    """The furthest place in a word that fits; always one character on."""
    blank = text.find(" ", start, reach)
    fits, too_far = start + 1, (reach if blank < 0 else blank) + 1
    while too_far - fits > 1:
        middle = (fits + too_far) // 2
        if count(text[start:middle]) <= longest:
            fits = middle
        else:
            too_far = middle
    return fits
