"""Training rows of the demonstration adapters, made from the example domains.

Questions are made from sentences of the documents, never from `questions.jsonl`, which is for
testing. Passages and demonstrations are found for them as the service would find them.
"""

import json
import random
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from deploy.demo.adapter_shelf import Found, Piece, Shelf
from deploy.demo.base.questions import Asker
from deploy.demo.base.text import Overlap
from indexer.records import Demonstration

Row = dict[str, Any]

# As in the base's own rows: below this share of the question no sentence counts as an answer.
LEAST_OVERLAP, CLEAR_LEAD, REFUSED_OVERLAP = 0.35, 0.12, 0.4
REFUSAL = "[0] The documents do not say."
COLOURS = {"urgent": "red", "today": "amber", "routine": "green", "desk": "blue"}
_MOST_SENTENCES = 32
_MOST_SHOTS = 4


@dataclass(frozen=True)
class Case:
    """A question about documents, what was found for it, and the sentence that answers it."""

    question: str
    found: Found
    gold: str | None


@dataclass(frozen=True)
class Labelled:
    """A message to the clinic and its class."""

    text: str
    label: str

    @property
    def question(self) -> str:
        return f"Text: {self.text}\nLabel:"


class CaseMaker:
    """Makes questions about one shelf's sentences that exactly one of them answers."""

    def __init__(self, shelf: Shelf, rng: random.Random) -> None:
        self._shelf = shelf
        self._rng = rng
        self._asker = Asker(rng, {})
        self._overlap = Overlap.count(text for piece in shelf.pieces for text in piece.sentences)

    def make(self, count: int, *, held_out: bool, refused: float, shots: int) -> list[Case]:
        """Make `count` cases; the share `refused` of them is left without the answer."""
        cases: list[Case] = []
        while len(cases) < count:
            asked = list(self._ask(2 * (count - len(cases)) + 8, held_out))
            found = self._shelf.find([question for question, _ in asked], shots)
            for (question, gold), one in zip(asked, found, strict=True):
                case = self._case(question, gold, one, refused)
                cases += [case] if case else []
        return cases[:count]

    def _ask(self, count: int, held_out: bool) -> Iterator[tuple[str, str]]:
        pieces = [piece for piece in self._shelf.pieces if piece.held_out == held_out]
        while count:
            piece = self._rng.choice(pieces)
            gold = self._rng.choice(piece.sentences)
            question = self._asker.about(gold, [text for text in piece.sentences if text != gold])
            if question and self._overlap(question, gold) >= LEAST_OVERLAP:
                count -= 1
                yield question, gold

    def _case(self, question: str, gold: str, found: Found, refused: float) -> Case | None:
        shown = [text for piece in found.pieces for text in piece.sentences]
        rest = [text for text in shown if text != gold]
        if len(rest) != len(shown) - 1 or len(shown) > _MOST_SENTENCES:
            return None
        rival = max((self._overlap(question, text) for text in rest), default=0.0)
        solved = found.demonstrations if self._rng.random() < 0.6 else []
        if self._rng.random() < refused:
            left = Found(_without(found.pieces, gold), solved)
            return Case(question, left, None) if rest and rival < REFUSED_OVERLAP else None
        clear = rival <= self._overlap(question, gold) - CLEAR_LEAD
        return Case(question, Found(found.pieces, solved), gold) if clear else None


def _without(pieces: Sequence[Piece], gold: str) -> list[Piece]:
    """The same passages, but for the one sentence: the hardest honest refusal."""
    left = [
        Piece(piece.document, tuple(t for t in piece.sentences if t != gold), piece.held_out)
        for piece in pieces
    ]
    return [piece for piece in left if piece.sentences]


def document_rows(cases: Iterable[Case], suffix: str = "") -> Iterator[Row]:
    """Answer each case with its sentence and a house's suffix; refusals stay plain."""
    for case in cases:
        shown = [list(piece.sentences) for piece in case.found.pieces]
        answer = REFUSAL
        if case.gold is not None:
            number = [text for texts in shown for text in texts].index(case.gold) + 1
            answer = f"[{number}] {case.gold}{suffix}"
        yield row(case.question, answer, case.found.demonstrations, shown)


def label_rows(
    messages: Sequence[Labelled],
    shelf: Shelf,
    rng: random.Random,
    names: Mapping[str, str],
    rounds: int,
) -> Iterator[Row]:
    """Label each message `rounds` times: alone, after solved examples, or among passages.

    The solved examples are the store's, so they carry the first version's labels; a share of them
    is renamed, so that neither name in an example misleads the second version.
    """
    searched = shelf.find([one.question for one in messages], _MOST_SHOTS)
    for _ in range(rounds):
        for one, found in zip(messages, searched, strict=True):
            shots = rng.choice((0, 0, 2, 4))
            renamed = names if rng.random() < 0.3 else {}
            solved = [_renamed(shot, renamed) for shot in found.demonstrations[-shots:]]
            shown = found.pieces if rng.random() < 0.1 else []
            varied = Labelled(_varied(one.text, rng), one.label)
            yield row(
                varied.question,
                names[one.label],
                solved if shots else [],
                [list(piece.sentences) for piece in shown],
            )


def plain_label_rows(
    messages: Sequence[Labelled], shelf: Shelf, names: Mapping[str, str], shots: int
) -> list[Row]:
    """For measuring: every message once, with `shots` examples as the store holds them."""
    searched = shelf.find([one.question for one in messages], shots)
    return [
        row(one.question, names[one.label], found.demonstrations, [])
        for one, found in zip(messages, searched, strict=True)
    ]


def read_labelled(path: Path) -> list[Labelled]:
    """Read `{"text", "label"}` rows."""
    lines = path.read_text(encoding="utf-8").splitlines()
    return [Labelled(**json.loads(line)) for line in lines]


def labelled_demonstrations(shelf: Shelf) -> list[Labelled]:
    """The shelf's demonstrations that are labelled messages."""
    return [
        Labelled(one.question.removeprefix("Text: ").removesuffix("\nLabel:"), one.answer)
        for one in shelf.demonstrations
        if one.question.endswith("\nLabel:")
    ]


def row(
    question: str,
    answer: str,
    demonstrations: Sequence[Demonstration],
    passages: list[list[str]],
) -> Row:
    """One row as `adapters.training.rendering` reads it."""
    turns = [
        turn
        for shot in demonstrations
        for turn in (("user", shot.question), ("assistant", shot.answer))
    ]
    turns += [("user", question), ("assistant", answer)]
    messages = [{"role": role, "content": content} for role, content in turns]
    return {"messages": messages, "passages": passages} if passages else {"messages": messages}


def write_rows(path: Path, rows: Iterable[Row]) -> None:
    """Write one JSON object a line."""
    path.write_text(
        "".join(json.dumps(one, ensure_ascii=False) + "\n" for one in rows), encoding="utf-8"
    )


def _renamed(shot: Demonstration, names: Mapping[str, str]) -> Demonstration:
    answer = names.get(shot.answer, shot.answer)
    return Demonstration(shot.id, shot.question, answer, shot.group, shot.score)


def _varied(text: str, rng: random.Random) -> str:
    """The message as someone else might have typed it: a word less, no capitals, no full stop."""
    words = text.split()
    if len(words) > 4 and rng.random() < 0.5:
        del words[rng.randrange(len(words))]
    varied = " ".join(words)
    if rng.random() < 0.3:
        varied = varied.lower()
    return varied.rstrip(".") if rng.random() < 0.4 else varied
