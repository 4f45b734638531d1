"""What a domain knows the answers to: held-out questions, and its own solved examples.

A passage is right for a case if it holds one of the case's quotes. A solved example has no quote
of its own: it gets the sentences of the documents that hold most of its answer's words, and is
left out where none holds enough. Labels of that kind rest on the answer, never on the question.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from eval.questions import FILE_NAME, read_questions
from indexer.domain import Domain, RetrievalSettings

if TYPE_CHECKING:
    from indexer.index.lexical_words import Stems
    from indexer.search.retriever import Retriever

_COVERED = 0.7  # of the answer's words, in one sentence
_FEWEST = 3  # words that an answer must have
_BY_WORDS = RetrievalSettings(mode="lexical", passages=10, min_passage_score=-1.0)


@dataclass(frozen=True, slots=True)
class Case:
    """A question, and the sentences that answer it: none where no document does."""

    text: str
    quotes: frozenset[str]
    answerable: bool = True

    def answered_by(self, passage: str) -> bool:
        """Does this text hold a quote, however it is broken into lines?"""
        text = collapse(passage)
        return any(quote in text for quote in self.quotes)


@dataclass(frozen=True, slots=True)
class Cases:
    """`measured` have quotes; `others` are answered somehow, but nobody can say where.

    `unanswerable` are the domain's own, `strays` questions that other domains answer.
    """

    measured: tuple[Case, ...]
    unanswerable: tuple[Case, ...]
    others: tuple[Case, ...]
    strays: tuple[Case, ...] = ()


def gather(domain: Domain, retriever: "Retriever") -> Cases:
    """From `questions.jsonl` beside domain.toml, where there is one, and the solved examples."""
    file = domain.folder / FILE_NAME
    held_out = list(_held_out(file)) if file.exists() else []
    solved = list(_solved(retriever))
    asked: dict[str, Case] = {}
    for case in [*held_out, *solved]:
        asked.setdefault(" ".join(case.text.lower().split()), case)
    return Cases(
        tuple(case for case in asked.values() if case.quotes),
        tuple(case for case in asked.values() if not case.answerable),
        tuple(case for case in asked.values() if case.answerable and not case.quotes),
        tuple(_strays(domain.folder)),
    )


def collapse(text: str) -> str:
    """White space as one space."""
    return " ".join(text.split())


def _strays(folder: Path) -> Iterator[Case]:
    """What the domains beside this one are asked and answer."""
    for file in sorted(folder.parent.glob(f"*/{FILE_NAME}")):
        if file.parent != folder:
            for question in read_questions(file):
                if question.sentence is not None:
                    yield Case(question.question, frozenset(), answerable=False)


def _held_out(file: Path) -> Iterator[Case]:
    for question in read_questions(file):
        quotes = frozenset({collapse(question.sentence)} if question.sentence else ())
        yield Case(question.question, quotes, answerable=question.sentence is not None)


def _solved(retriever: "Retriever") -> Iterator[Case]:
    from indexer.index.lexical_words import Stems

    stems = Stems()
    query = "SELECT question, answer FROM demonstrations ORDER BY row"
    for question, answer in retriever.snapshot.read(query):
        yield Case(question, frozenset(_quotes(retriever, set(stems.of(answer)), answer, stems)))


def _quotes(retriever: "Retriever", wanted: set[str], answer: str, stems: "Stems") -> Iterable[str]:
    """The sentences with the most of these words, if that is enough of them."""
    if len(wanted) < _FEWEST:
        return []
    sentences = _sentences(retriever, answer)
    covered = [len(wanted & set(stems.of(text))) / len(wanted) for text in sentences]
    most = max(covered, default=0.0)
    if most < _COVERED:
        return []
    return [collapse(text) for text, share in zip(sentences, covered, strict=True) if share == most]


def _sentences(retriever: "Retriever", answer: str) -> Sequence[str]:
    """Of the passages that share most words with the answer."""
    from indexer.search.ranking import Question

    nowhere = np.zeros(retriever.snapshot.passages.dimension, dtype=np.float32)
    hits = retriever.search(Question(answer, nowhere), _BY_WORDS)
    return [text for hit in hits for text in hit.passage.sentence_texts()]
