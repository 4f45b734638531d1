"""What is looked up for a question that is asked in a conversation. Pure.

"And on Sundays?" finds nothing by itself. What was said before is put behind such a question, and
the question again behind that: it counts twice, and an embedding model that reads no further than
a page has read it. A question that stands alone is looked up alone: with what went before it would
seem near to documents that it has nothing to do with, and the domain would not refuse.
"""

import re
from collections.abc import Sequence
from typing import Literal, TypeAlias

from indexer.search.quoting import STOP_WORDS

History: TypeAlias = Literal["none", "auto", "questions", "turns"]
Turn: TypeAlias = tuple[Literal["user", "assistant"], str]

EARLIER = 3  # questions before the last
LONGEST = 400  # characters of a turn before the last: it is to be remembered, not to be answered
_FEWEST = 3  # words that say something, below which a question is too short to stand alone

_WORD = re.compile(r"[^\W_]+(?:['’][^\W_]+)?")  # noqa: RUF001
_REFERRING = frozenset(
    "it its it's he him his she her hers they them their theirs this that these those one ones"
    " there then same such so too also either instead else another other".split()
)
_LEADING = ("and ", "or ", "but ", "then ", "so ", "also ", "why", "what about", "how about")


def search_text(turns: Sequence[Turn], history: History) -> str:
    """The text for the question that is the last of `turns`.

    `questions` takes the user's earlier questions along, `turns` the answers too, `auto` the
    questions where the last does not stand alone, `none` nothing.
    """
    question = turns[-1][1]
    if history == "none" or (history == "auto" and stands_alone(question)):
        return question
    earlier = _earlier(turns[:-1], answers=history == "turns")
    return " ".join([question, *earlier, question[:LONGEST]]) if earlier else question


def stands_alone(question: str) -> bool:
    """By English words: whether it points at nothing, and says enough of its own.

    What is longer than a turn is remembered at says enough, whatever it points at.
    """
    if len(question) > LONGEST:
        return True
    words = [word.lower() for word in _WORD.findall(question)]
    said = [word for word in words if word not in STOP_WORDS]
    refers = any(word in _REFERRING for word in words)
    return len(said) >= _FEWEST and not refers and not question.lower().startswith(_LEADING)


def _earlier(turns: Sequence[Turn], *, answers: bool) -> list[str]:
    """The last few questions, oldest first, each with what was answered if that is wanted."""
    kept: list[str] = []
    questions = 0
    for role, text in reversed(turns):
        if role == "user":
            questions += 1
        if (role == "user" or answers) and text.strip():
            kept.append(text.strip()[:LONGEST])
        if questions == EARLIER:
            break
    return kept[::-1]
