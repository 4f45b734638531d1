"""Questions made from a sentence: keywords, templates, clozes, with changed words."""

import random
import re
from collections.abc import Sequence

from deploy.demo.base.text import STOP_WORDS

Synonyms = dict[str, list[str]]

_ABOUT = (
    "What does it say about {}?|Tell me about {}.|What about {}?|What is known about {}?|"
    "Explain {}.|Find {}.|Is there anything on {}?|What is said of {}?|How is {} described?|"
    "Information on {}?|What is the role of {}?|Why is {} important?|How does {} work?|"
    "What happens with {}?|What should I know about {}?|{}|{}?|Where is {} mentioned?|"
    "Can you explain {}?|Describe {}.|What do the documents say about {}?|What is {}?|"
    "Who or what is {}?|Do you have something about {}?|I need to know about {}."
).split("|")
_ASK_NUMBER = ("How many", "How much", "When", "What year", "How long", "At what", "In what year")
_ASK_NAME = ("Who", "What", "Where", "Which", "Who was", "What is", "Whose", "What was", "In what")
_ASK_OTHER = (
    "What|What|What|How|Why|What kind of|What is|What are|Does|Is|Can|How do I|How can|What did|"
    "Which of|What was|How did|Why did|Should|In what way|What does|Are there|What must"
).split("|")
_HELPERS = ("did", "do", "does", "is", "are", "was", "the", "were", "has")
_STRIP = ".,;:!?\"“”()'\u2019-"


class Asker:
    """Makes questions about sentences with one random generator."""

    def __init__(self, rng: random.Random, synonyms: Synonyms) -> None:
        self.rng = rng
        self.synonyms = synonyms

    def about(self, sentence: str, context: Sequence[str] = ()) -> str | None:
        """A question that the sentence answers, or nothing where it says too little."""
        words = [word for word in (raw.strip(_STRIP) for raw in sentence.split()) if word]
        content = [i for i, w in enumerate(words) if w.lower() not in STOP_WORDS and len(w) > 2]
        if len(content) < 2:
            return None
        keywords = self.rng.random() < 0.3
        question = self._keywords(words, content) if keywords else self._cloze(words)
        if question and context and self.rng.random() < 0.3:
            question = self._with_context(question, self.rng.choice(context))
        return self._cased(question) if question else None

    def paraphrased(self, question: str) -> str:
        """The question with some, or no, words changed for near ones."""
        rate = self.rng.choice((0.0, 0.0, 0.15, 0.3, 0.5))

        def swap(found: re.Match[str]) -> str:
            word = found.group()
            near = self.synonyms.get(word, ())
            return self.rng.choice(near) if near and self.rng.random() < rate else word

        return re.sub(r"[a-z]{4,}", swap, question) if rate else question

    def inflected(self, word: str) -> str:
        """The word, or now and then another form of it."""
        lower = word.lower()
        if self.rng.random() > 0.13 or len(lower) <= 4 or not lower.isalpha():
            return word
        for ending in ("ing", "ed", "es", "s"):
            if lower.endswith(ending):
                options = ("", "s", "ed", "ing") if len(ending) < 3 else ("", "e", "ed")
                return word[: -len(ending)] + self.rng.choice(options)
        return word + self.rng.choice(("s", "s", "ing", "ed"))

    def _keywords(self, words: list[str], content: list[int]) -> str:
        rng = self.rng
        if rng.random() < 0.6:
            start = rng.choice(content)
            end = min(len(words), start + rng.choice((1, 2, 2, 3, 4)))
            while end > start + 1 and words[end - 1].lower() in STOP_WORDS:
                end -= 1
            phrase = " ".join(words[start:end])
            if rng.random() < 0.3:
                phrase += rng.choice((" and ", " ", " in ")) + words[rng.choice(content)]
        else:
            picked = rng.sample(content, min(rng.choice((1, 2, 3, 3, 4)), len(content)))
            phrase = " ".join(self.inflected(words[i]) for i in sorted(picked))
        return rng.choice(_ABOUT).format(phrase)

    def _opening(self, asked: list[str]) -> str:
        rng = self.rng
        if any(word[0].isdigit() for word in asked) and rng.random() < 0.8:
            return rng.choice(_ASK_NUMBER)
        named = any(word[0].isupper() for word in asked)
        opening = rng.choice(_ASK_NAME if named and rng.random() < 0.7 else _ASK_OTHER)
        return f"{opening} {rng.choice(_HELPERS)}" if rng.random() < 0.4 else opening

    def _cloze(self, words: list[str]) -> str | None:
        rng = self.rng
        gap = rng.randrange(len(words))
        end = min(len(words), gap + rng.choice((1, 2, 3, 4)))
        rest = words[:gap] + words[end:]
        length = rng.choice((4, 6, 8, 10, 14))
        if len(rest) > length:
            start = rng.randrange(len(rest) - length + 1)
            rest = rest[start : start + length]
        drop = rng.choice((0.0, 0.1, 0.25, 0.4))
        kept = [
            self.inflected(word)
            for word in rest
            if rng.random() >= (min(0.6, drop * 1.5) if word.lower() in STOP_WORDS else drop)
        ]
        if len(kept) < 2:
            return None
        if len(kept) > 3 and rng.random() < 0.2:
            turn = rng.randrange(1, len(kept))
            kept = kept[turn:] + kept[:turn]
        if kept[0].lower() in STOP_WORDS:
            kept[0] = kept[0].lower()
        return f"{self._opening(words[gap:end])} {' '.join(kept)}?"

    def _with_context(self, question: str, neighbour: str) -> str:
        """Topic words of a neighbouring sentence, as real questions carry them."""
        words = [word.strip(_STRIP) for word in neighbour.split()]
        words = [w for w in words if w.isalpha() and len(w) > 3 and w.lower() not in STOP_WORDS]
        if not words:
            return question
        picked = self.rng.sample(words, min(self.rng.choice((1, 1, 2)), len(words)))
        link = self.rng.choice((" in ", " of ", " for ", " with "))
        return question.rstrip("?.") + link + " ".join(picked) + "?"

    def _cased(self, question: str) -> str:
        if self.rng.random() < 0.2:
            question = question.lower()
        return question[0].upper() + question[1:] if self.rng.random() < 0.85 else question


def nearest_words(words: Sequence[str], encoder: str, floor: float = 0.62) -> Synonyms:
    """For each word the close ones in the space of a sentence encoder."""
    import numpy as np
    from sentence_transformers import SentenceTransformer

    model = SentenceTransformer(encoder, device="cpu")
    vectors = np.asarray(model.encode(list(words), batch_size=256, normalize_embeddings=True))
    likeness = vectors @ vectors.T
    np.fill_diagonal(likeness, 0)
    best = np.argsort(-likeness, axis=1)[:, :4]
    near = {
        word: [words[j] for j in best[i] if likeness[i, j] > floor] for i, word in enumerate(words)
    }
    return {word: found for word, found in near.items() if found}
