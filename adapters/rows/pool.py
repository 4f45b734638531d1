"""Examples as they are taken in: masked, without duplicates, without what is evaluated on."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field, replace

from adapters.prompt import Message
from adapters.rows.example import Example, Fault
from adapters.rows.faults import fault_of
from adapters.rows.likeness import Alike, SharedRuns
from indexer.text.masking import Masker


@dataclass(frozen=True, slots=True)
class PoolSettings:
    """`near` is the Jaccard similarity from which two questions, or two examples, are one."""

    near: float = 0.8
    kinds: tuple[str, ...] = ()


@dataclass(slots=True)
class Pool:
    """Takes examples one after the other; the first of several alike stays.

    So what is evaluated on is shown first, by `reserve`, then what is held out, then the rest.
    `kin` maps an example's number to that of the earliest one with a question like its own.
    """

    settings: PoolSettings
    kept: list[Example] = field(default_factory=list)
    faults: list[Fault] = field(default_factory=list)
    masked: Counter[str] = field(default_factory=Counter)
    kin: dict[int, int] = field(default_factory=dict)
    _masker: Masker = field(init=False)
    _reserved: Alike = field(init=False)
    _reserved_places: list[str] = field(default_factory=list)
    _reserved_runs: dict[int, int] = field(default_factory=dict)
    _runs: SharedRuns = field(default_factory=lambda: SharedRuns([]))
    _whole: Alike = field(init=False)
    _asked: Alike = field(init=False)

    def __post_init__(self) -> None:
        self._masker = Masker(self.settings.kinds)
        near = self.settings.near
        self._reserved, self._whole, self._asked = Alike(near), Alike(near), Alike(near)

    def learn_template(self, examples: Iterable[Example | Fault]) -> None:
        """See what many of them say, before the first is taken: an instruction is no likeness."""
        counted = self.masked.copy()
        clean = (self._mask(one) for one in examples if isinstance(one, Example))
        self._runs = SharedRuns(said(one) for one in clean)
        self.masked = counted

    def reserve(self, examples: Iterable[Example | Fault]) -> None:
        """Questions that no row may ask: an evaluation set's. What cannot be read is a fault."""
        counted = self.masked.copy()
        for example in examples:
            if isinstance(example, Fault):
                self.faults.append(replace(example, kind="evaluation set"))
                continue
            clean = self._mask(example)
            asked = clean.question or clean.answer
            self._reserved.add(self._runs.without(asked))
            for run in self._runs.of(asked):
                self._reserved_runs.setdefault(run, len(self._reserved_places))
            self._reserved_places.append(example.place)
        self.masked = counted

    def take(self, examples: Iterable[Example | Fault]) -> list[int]:
        """Keep what can be learned from; the numbers of those kept."""
        before = len(self.kept)
        for example in examples:
            if isinstance(example, Fault):
                self.faults.append(example)
                continue
            clean = self._mask(example)
            fault = fault_of(clean) or self._seen(clean)
            if fault:
                self.faults.append(fault)
            else:
                self._keep(clean)
        return list(range(before, len(self.kept)))

    def _keep(self, example: Example) -> None:
        number = len(self.kept)
        asked = self._runs.without(example.question or example.answer)
        self.kin[number] = number if (kin := self._asked.first(asked)) is None else kin
        self._asked.add(asked)
        self._whole.add(self._runs.without(said(example)))
        self.kept.append(example)

    def _seen(self, example: Example) -> Fault | None:
        at = self._evaluated(example)
        if at is not None:
            place = self._reserved_places[at]
            return Fault(example.place, "contamination", f"holds what {place} evaluates on")
        at = self._whole.first(self._runs.without(said(example)))
        if at is None:
            return self._contradiction(example)
        other = self.kept[at]
        if example.digest == other.digest:
            return Fault(example.place, "duplicate", f"says what {other.place} says")
        return Fault(example.place, "near duplicate", f"says nearly what {other.place} says")

    def _evaluated(self, example: Example) -> int | None:
        """The evaluation question that any turn asks, or of which it has thirteen words running."""
        if not self._reserved_places:
            return None
        asked = [turn["content"] for turn in example.turns if turn["role"] == "user"]
        for text in asked or [example.answer]:
            at = self._reserved.first(self._runs.without(text))
            if at is not None:
                return at
        runs = self._runs.of(said(example))
        return min(
            (self._reserved_runs[run] for run in runs & self._reserved_runs.keys()), default=None
        )

    def _contradiction(self, example: Example) -> Fault | None:
        """Another short answer, as labels are, to the very question of another example."""
        question = self._runs.without(example.question)
        at = self._asked.first(question) if example.kind == "chat" else None
        if at is None or len(example.answer.split()) > 3:
            return None
        other = self.kept[at]
        same = other.turns == example.turns and other.passages == example.passages
        if same and other.answer.strip() != example.answer.strip():
            reason = f"answers {example.answer!r} where {other.place} answers {other.answer!r}"
            return Fault(example.place, "contradiction", reason)
        return None

    def _mask(self, example: Example) -> Example:
        if not self.settings.kinds:
            return example
        turns = tuple(self._turn(turn) for turn in example.turns)
        return replace(
            example,
            turns=turns,
            answer=self._text(example.answer),
            worse=self._text(example.worse),
            passages=tuple(tuple(map(self._text, texts)) for texts in example.passages),
        )

    def _turn(self, turn: Message) -> Message:
        return {"role": turn["role"], "content": self._text(turn["content"])}

    def _text(self, text: str) -> str:
        clean, counts = self._masker.mask_text(text)
        self.masked.update(counts)
        return clean


def said(example: Example) -> str:
    """What is compared: all but a system text, which is an instruction and the same for many."""
    turns = [turn["content"] for turn in example.turns if turn["role"] != "system"]
    return "\n".join([*turns, example.answer, *([example.worse] if example.worse else [])])
