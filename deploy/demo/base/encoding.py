"""Rows as numbers: tokens, which are learned how, and the targets of the helper losses."""

from dataclasses import dataclass

import torch
from tokenizers import Tokenizer
from torch import Tensor

from deploy.demo.base.rows import Message, Row
from deploy.demo.base.text import Overlap
from deploy.demo.base.vocabulary import BEGIN, CLOSING, END, OPENING

IGNORED, COPIED, SENTENCE_ID, LABEL = 0, 1, 2, 3
UNKNOWN = -1


@dataclass(frozen=True)
class Closing:
    """A sentence's closing token and what it should know: is it the answer, and how near."""

    position: int
    answer: int
    overlap: float


@dataclass(frozen=True)
class Encoded:
    """One row as equally long lists, position by position."""

    tokens: list[int]
    kinds: list[int]
    sentence: list[int]
    asked: list[int]
    closings: list[Closing]


@dataclass(frozen=True)
class Batch:
    """Several rows, padded to one length."""

    tokens: Tensor
    kinds: Tensor
    sentence: Tensor
    asked: Tensor
    closing_at: Tensor
    closing_answer: Tensor
    closing_overlap: Tensor


def chat_text(messages: list[Message]) -> str:
    """What the chat template makes of the messages."""
    turns = (f"<|{message['role']}|>{message['content']}{END}" for message in messages)
    return BEGIN + "".join(turns)


class Encoder:
    """Turns rows into tokens with one tokenizer."""

    def __init__(self, tokenizer: Tokenizer, overlap: Overlap) -> None:
        self.tokenizer, self.overlap = tokenizer, overlap

        def number(token: str) -> int:
            found: int | None = tokenizer.token_to_id(token)
            assert found is not None, f"{token} is not in the vocabulary"
            return found

        self.opening = {number(mark): i for i, mark in enumerate(OPENING)}
        self.closing = {number(mark): i for i, mark in enumerate(CLOSING, start=1)}
        self.end, self.assistant = number(END), number("<|assistant|>")
        self.roles = {number(f"<|{role}|>") for role in ("system", "user", "assistant")}
        self.refusal = number(OPENING[0])
        self.frame = len(tokenizer.encode("\nQuestion:", add_special_tokens=False).ids)

    def __call__(self, row: Row) -> Encoded:
        """The row's tokens and targets."""
        text = chat_text(row.messages)
        tokens: list[int] = self.tokenizer.encode(text, add_special_tokens=False).ids
        kinds = self._kinds(tokens, set(row.learned))
        blank = [UNKNOWN] * len(tokens)
        if not row.sentences:
            return Encoded(tokens, kinds, blank, list(blank), [])
        sentence, asked, ends = self._documents(tokens)
        closings = [
            Closing(
                position,
                UNKNOWN if i in row.unjudged else int(i == row.gold),
                self.overlap(row.question, row.sentences[i]),
            )
            for i, position in enumerate(ends)
        ]
        return Encoded(tokens, kinds, sentence, asked, closings)

    def _kinds(self, tokens: list[int], learned: set[int]) -> list[int]:
        kinds, turn, inside, first = [IGNORED] * len(tokens), -1, IGNORED, False
        for place, token in enumerate(tokens):
            if token in self.roles:
                turn += 1
                inside, first = (LABEL if turn in learned else IGNORED), True
                continue
            if inside and first and token in self.opening:
                kinds[place], inside = SENTENCE_ID, COPIED
            else:
                kinds[place] = inside
            first = False
            if token == self.end:
                inside = IGNORED
        return kinds

    def _documents(self, tokens: list[int]) -> tuple[list[int], list[int], list[int]]:
        """Per token its sentence and whether the question has it; and the closing positions."""
        start = max(i for i, token in enumerate(tokens) if token == self.assistant)
        start = max(i for i, token in enumerate(tokens[:start]) if token in self.roles)
        ends = [i for i in range(start, len(tokens)) if tokens[i] in self.closing]
        stop = tokens.index(self.end, ends[-1])
        question = set(tokens[ends[-1] + 1 + self.frame : stop])
        sentence, asked, current = [0] * len(tokens), [UNKNOWN] * len(tokens), 0
        for place in range(start, ends[-1] + 1):
            token = tokens[place]
            if token in self.opening:
                current, sentence[place] = self.opening[token], UNKNOWN
            elif current:
                sentence[place] = current
                if token in self.closing:
                    current = 0
                else:
                    asked[place] = int(token in question)
        return sentence, asked, ends


def _padded(lists: list[list[int]], filler: int, length: int) -> Tensor:
    return torch.tensor([items + [filler] * (length - len(items)) for items in lists])


def collate(rows: list[Encoded], multiple: int = 32) -> Batch:
    """Pad rows to a common length; one token more than a multiple, as the last is only a target."""
    longest = max(len(row.tokens) for row in rows)
    length = (longest + multiple - 2) // multiple * multiple + 1
    closings = [(i, closing) for i, row in enumerate(rows) for closing in row.closings]
    places = [[i, closing.position] for i, closing in closings]
    return Batch(
        tokens=_padded([row.tokens for row in rows], 0, length),
        kinds=_padded([row.kinds for row in rows], IGNORED, length),
        sentence=_padded([row.sentence for row in rows], UNKNOWN, length),
        asked=_padded([row.asked for row in rows], UNKNOWN, length),
        closing_at=torch.tensor(places, dtype=torch.long).reshape(-1, 2),
        closing_answer=torch.tensor([closing.answer for _, closing in closings], dtype=torch.long),
        closing_overlap=torch.tensor([closing.overlap for _, closing in closings]),
    )
