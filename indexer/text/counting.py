"""Counting tokens word by word, so that a text need not be tokenised to know how long it is."""

from collections.abc import Callable

Count = Callable[[str], int]

_WORDS = 1 << 18
_LONGEST = 64
# What tokenizers are known to treat in ways of their own, where words meet and within them.
_PROBES = (
    "The kettle boils. It's hot, isn't it? (No: 3.5 of 1,000 e-mails cost £2.50/month!)",
    "naïve Übermaß “quoted” — dash — 10…12 ½ x² ﬁne https://example.org/a?b=c&d",
    "日本語の文 слово نص antidisestablishmentarianism zzqxj 0xDEADBEEF :-)",
    "Name | Age | e-mail\nAnn Lee | 41 | ann@example.org\n\tif (x[i] >= 0) { f_x(i++); } // end",
)


class WordCounter:
    """Counts clean text as `count` does, at a fraction of its cost: it remembers words' tokens.

    Right for tokenizers that part words before they look into them, as those of BERT and T5 do;
    whether `count` is of such a one is tried on a few lines, and if not, it is asked every time.
    """

    def __init__(self, count: Count) -> None:
        self._count = count
        self._known: dict[str, int] = {}
        self._adds_up = all(
            count(probe) == sum(count(word) for word in probe.split()) for probe in _PROBES
        )

    def __call__(self, text: str) -> int:
        if not self._adds_up:
            return self._count(text)
        known = self._known
        try:
            return sum([known[word] for word in text.split()])
        except KeyError:
            return sum([self._word(word) for word in text.split()])

    def _word(self, word: str) -> int:
        size = self._known.get(word)
        if size is None:
            size = self._count(word)
            if len(word) <= _LONGEST:
                if len(self._known) >= _WORDS:
                    self._known.clear()
                self._known[word] = size
        return size
