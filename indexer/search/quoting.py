"""The sentences that answer best, without any language model: `quote` mode, and the fallback."""

import math
import re
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from indexer.records import Passage, Sentence, Vectors

_WORD = re.compile(r"[^\W_]+(?:['’][^\W_]+)?")  # noqa: RUF001
STOP_WORDS = frozenset(
    "a about am an and any are as at be been but by can could did do does for from had has have how"
    " i if in into is it its may me my of on or our shall should so than that the their them then"
    " there these they this to us was we were what when where which who whom whose why will with"
    " would you your".split()
)
_WEIGHT_OF_WORDS = 0.4
_STEM = 5


@dataclass(frozen=True, slots=True)
class Quote:
    """A sentence of a passage; `score` is at most 1, cosine and word overlap together."""

    passage: Passage
    sentence: Sentence
    score: float

    @property
    def text(self) -> str:
        start = self.passage.start
        return self.passage.text[self.sentence.start - start : self.sentence.end - start]


def best_sentences(
    question: str,
    passages: Sequence[Passage],
    embed: Callable[[list[str]], Vectors],
    vector: Vectors,
    limit: int,
) -> list[Quote]:
    """At most `limit` quotes, best first. `embed` is Embedder.embed_passages, `vector` the
    question's as it looks for passages. Equal texts count once, in the better passage.
    """
    candidates: dict[str, tuple[Passage, Sentence]] = {}
    for passage in sorted(passages, key=lambda passage: -passage.score):
        for sentence, text in zip(passage.sentences, passage.sentence_texts(), strict=True):
            candidates.setdefault(text, (passage, sentence))
    if not candidates or limit <= 0:
        return []
    texts = list(candidates)
    cosines = embed(texts) @ vector
    overlaps = np.asarray(word_overlaps(question, texts))
    scores = (1 - _WEIGHT_OF_WORDS) * cosines + _WEIGHT_OF_WORDS * overlaps
    order = np.argsort(-scores, kind="stable")[:limit]
    return [Quote(*candidates[texts[row]], score=float(scores[row])) for row in order]


def word_overlaps(question: str, texts: Sequence[str]) -> list[float]:
    """For each text the share, 0 to 1, of the question's words it holds, rare words counting more.

    How rare a word is follows from these texts alone (Robertson and Spärck Jones's IDF).
    """
    wanted = _stems(question)
    stems = [_stems(text) for text in texts]
    frequency = Counter(stem for found in stems for stem in found)
    weight = {
        stem: math.log(1 + (len(texts) - frequency[stem] + 0.5) / (frequency[stem] + 0.5))
        for stem in wanted
    }
    total = sum(weight.values()) or 1.0
    return [sum(weight[stem] for stem in sorted(wanted & found)) / total for found in stems]


def _stems(text: str) -> set[str]:
    """Beginnings of words, so that "descale" meets "descaling"."""
    words = (word.lower() for word in _WORD.findall(text))
    return {word[:_STEM] for word in words if word not in STOP_WORDS}
