"""Rows made with a teacher: each asked twice, kept where both agree, and marked as synthetic."""

from __future__ import annotations

import hashlib
import json
import random
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from pydantic import BaseModel, ConfigDict

from adapters.prompt import Message
from adapters.rows.example import Example, Fault
from adapters.rows.faults import fault_of
from adapters.rows.teaching.asking import (
    Answered,
    Pair,
    R,
    Verdict,
    agree,
    parsed,
    schema_of,
    to_answer,
    to_answer_from,
    to_judge,
    to_write,
)
from adapters.rows.teaching.endpoint import Teacher, Unusable
from indexer.settings import write_atomically
from indexer.text.masking import Masker

ROWS: Final = "rows.jsonl"
NOTEBOOK: Final = "notebook.jsonl"
REJECTED: Final = "rejected.jsonl"
MANIFEST: Final = "manifest.json"
# Part of what decides the rows: raise it when prompts, schemas or rules change.
VERSION: Final = "1"
_SHOWN: Final = 3
_PIECE: Final = 2_000
_LEAST_PIECE: Final = 200


@dataclass(frozen=True, slots=True)
class TeachSettings:
    """`agreement`: how alike two long answers must be; `labels` closes the set of answers.

    `kinds` are the sorts of personal data that are masked before anything is sent.
    """

    agreement: float = 0.5
    temperature: float = 0.7
    seed: int = 0
    parallel: int = 4
    labels: tuple[str, ...] = ()
    kinds: tuple[str, ...] = ()


class Taught(BaseModel):
    """The manifest: who taught, how, what came of it; `files` and `inputs` map names to sha256."""

    model_config = ConfigDict(frozen=True)

    version: str = VERSION
    task: str
    teacher: str
    judge: str
    settings: dict[str, float | int | str]
    inputs: dict[str, str]
    rows: int = 0
    rejected: dict[str, int] = {}
    masked: dict[str, int]
    files: dict[str, str] = {}


Made = Example | Fault
Step = Callable[[], None]


class Lesson:
    """Makes rows by one teacher, and one judge if there is one."""

    def __init__(
        self,
        teacher: Teacher,
        settings: TeachSettings,
        judge: Teacher | None = None,
        like: Sequence[Example] = (),
    ) -> None:
        self._teacher = teacher
        self._judge = judge
        self._settings = settings
        self._masker = Masker(settings.kinds)
        self.masked: Counter[str] = Counter()
        self._like = [self._clean(one) for one in like]

    def label(self, examples: Sequence[Example], step: Step = lambda: None) -> Iterator[Made]:
        """Answers for questions, in their order."""
        return self._each(self._labelled, examples, step)

    def write(self, texts: Sequence[Example], step: Step = lambda: None) -> Iterator[Made]:
        """A question and its answer for each piece of text, in their order."""
        return self._each(self._written, texts, step)

    def _each(
        self, make: Callable[[Example], Example], given: Sequence[Example], step: Step
    ) -> Iterator[Made]:
        """In threads, but in their order; personal data is masked before anything is sent."""
        clean = [self._clean(one) for one in given]

        def safely(one: Example) -> Made:
            try:
                made = make(one)
            except Unusable as unusable:
                return Fault(one.place, unusable.kind, unusable.reason)
            finally:
                step()
            return fault_of(made) or made

        with ThreadPoolExecutor(self._settings.parallel) as pool:
            try:
                yield from pool.map(safely, clean)
            finally:
                pool.shutdown(cancel_futures=True)

    def _labelled(self, example: Example) -> Example:
        messages = to_answer(example, self._settings.labels, self._shown(example))
        first, second = (self._ask(messages, Answered, number).answer for number in range(2))
        self._check(example.question, first, second, "")
        return replace(example, kind="chat", answer=first, worse="", synthetic=True)

    def _written(self, text: Example) -> Example:
        pair = self._ask(to_write(text.answer, self._shown(text)), Pair, 0)
        again = self._ask(to_answer_from(text.answer, pair.question), Answered, 1).answer
        self._check(pair.question, pair.answer, again, text.answer)
        asked: Message = {"role": "user", "content": pair.question}
        group = text.group or text.place.partition("#")[0]
        return Example(text.place, "chat", (asked,), pair.answer, group=group, synthetic=True)

    def _check(self, question: str, first: str, second: str, source: str) -> None:
        """Unusable where a rule speaks against the row."""
        labels = self._settings.labels
        if labels and first not in labels:
            raise Unusable(f"{first[:80]!r} is none of the {len(labels)} labels", "label")
        if not agree(first, second, self._settings.agreement):
            raise Unusable(f"{first[:80]!r} and {second[:80]!r}", "disagreement")
        if self._judge:
            asked = to_judge(question, first, source)
            text = self._judge.ask(asked, schema_of(Verdict), 0.0, self._settings.seed)
            verdict = parsed(text, Verdict)
            if not verdict.fit:
                raise Unusable(verdict.reason[:200] or "not fit", "judge")

    def _ask(self, messages: Sequence[Message], kind: type[R], number: int) -> R:
        schema = schema_of(kind, self._settings.labels if kind is Answered else ())
        seed = 2 * self._settings.seed + number
        return parsed(self._teacher.ask(messages, schema, self._settings.temperature, seed), kind)

    def _shown(self, example: Example) -> list[Example]:
        """Some of the solved ones, others for each row, the same in each run."""
        lot = random.Random(f"{self._settings.seed} {example.digest}")
        others = [one for one in self._like if one.question != example.question]
        return lot.sample(others, min(_SHOWN, len(others)))

    def _clean(self, example: Example) -> Example:
        turns: list[Message] = [
            {"role": turn["role"], "content": self._mask(turn["content"])} for turn in example.turns
        ]
        return replace(example, turns=tuple(turns), answer=self._mask(example.answer))

    def _mask(self, text: str) -> str:
        clean, counts = self._masker.mask_text(text)
        self.masked.update(counts)
        return clean


def pieces(texts: Iterable[Example]) -> Iterator[Example]:
    """Texts by paragraphs, each piece long enough to hold an answer and short enough to be read."""
    for text in texts:
        held, number = "", 0
        for paragraph in [*text.answer.split("\n\n"), ""]:
            if held and (not paragraph or len(held) + len(paragraph) > _PIECE):
                if len(held) >= _LEAST_PIECE or not number:
                    yield replace(text, place=f"{text.place}#{number}", answer=held[:_PIECE])
                    number += 1
                held = ""
            held = f"{held}\n\n{paragraph}".strip()


def write(out: Path, made: Sequence[Made], taught: Taught) -> Taught:
    """Put rows, what was left out and the manifest into the folder; the manifest comes last."""
    faults = [one for one in made if isinstance(one, Fault)]
    rows = [one.row() for one in made if isinstance(one, Example)]
    left = [{"place": f.place, "kind": f.kind, "reason": f.reason} for f in faults]
    files = {}
    for name, lines in ((ROWS, rows), (REJECTED, left)):
        text = "".join(json.dumps(line, ensure_ascii=False) + "\n" for line in lines)
        write_atomically(out / name, text.encode())
        files[name] = hashlib.sha256(text.encode()).hexdigest()
    rejected = dict(Counter(fault.kind for fault in faults))
    done = taught.model_copy(update={"rows": len(rows), "rejected": rejected, "files": files})
    write_atomically(out / MANIFEST, (done.model_dump_json(indent=2) + "\n").encode())
    return done
