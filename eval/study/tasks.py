"""Tasks: their questions, and what an answer to one is worth."""

from __future__ import annotations

import gzip
import hashlib
import json
import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from eval.scoring.labels import LabelReader
from eval.scoring.numbers import find_number
from eval.scoring.texts import holds, rouge_l
from eval.study.spec import Kind, TaskSpec
from indexer.errors import BadInput


@dataclass(frozen=True, slots=True)
class Item:
    """One question with the answer that is expected."""

    id: str
    question: str
    answer: str


@dataclass(frozen=True, slots=True)
class Verdict:
    """`score` is 0 to 1; `found` is what was read from the answer, by which `rule`."""

    score: float
    found: str | None
    rule: str


Judge = Callable[[str, str], Verdict]


@dataclass(frozen=True, slots=True)
class Task:
    """A task that can be asked: its items in a fixed order, and its judge of (answer, expected)."""

    spec: TaskSpec
    items: Sequence[Item]
    pool: Sequence[Item]
    judge: Judge

    def asked(self, item: Item) -> str:
        """The question as it is put."""
        return self.spec.prompt.replace("{question}", item.question)


def open_task(spec: TaskSpec) -> Task:
    """Read a task's files; of more rows than its limit those that a fixed lot draws."""
    items, pool = read_items(spec.rows, spec), read_items(spec.pool, spec) if spec.pool else []
    if spec.limit and len(items) > spec.limit:
        items = sorted(random.Random(spec.name).sample(items, spec.limit), key=items.index)
    labels = sorted({one.answer for one in [*items, *pool]})
    return Task(spec, items, pool, judge_of(spec.kind, labels))


def read_items(path: Path, spec: TaskSpec) -> list[Item]:
    """JSON lines, zipped or not; BadInput names the line that lacks a question or an answer."""
    opened = gzip.open if path.suffix == ".gz" else open
    items = []
    with opened(path, "rt", encoding="utf-8") as lines:
        for number, line in enumerate(lines, 1):
            if line.strip():
                items.append(_item(path, number, line, spec))
    if not items:
        raise BadInput(f"{path} has no rows", "Write one JSON object a line")
    return items


def _item(path: Path, number: int, line: str, spec: TaskSpec) -> Item:
    try:
        row = json.loads(line)
    except ValueError as error:
        raise BadInput(f"{path}:{number} is no JSON ({error})", "Correct the line") from error
    for name in (spec.question, spec.answer):
        if not isinstance(row, Mapping) or not isinstance(row.get(name), str):
            raise BadInput(
                f"{path}:{number} has no text `{name}`",
                f"Name the fields: question: {spec.question}, answer: {spec.answer}",
            )
    question, answer = row[spec.question], row[spec.answer]
    name = hashlib.sha256(f"{question}\0{answer}".encode()).hexdigest()[:16]
    return Item(name, question, answer)


def judge_of(kind: Kind, labels: Sequence[str]) -> Judge:
    """How answers of a kind are judged; `labels` are all that a label task knows."""
    if kind == "number":
        return _number
    if kind == "quote":
        return lambda answer, expected: Verdict(holds(answer, expected), None, "holds")
    if kind == "text":
        return lambda answer, expected: Verdict(rouge_l(answer, expected), None, "rouge-l")
    reader = LabelReader(labels)

    def label(answer: str, expected: str) -> Verdict:
        found = reader.read(answer)
        name = found.label if found else None
        return Verdict(float(name == expected), name, found.rule if found else "none")

    return label


def _number(answer: str, expected: str) -> Verdict:
    found, wanted = find_number(answer), find_number(expected)
    if wanted is None:
        raise BadInput(f"The expected answer {expected!r:.80} has no number", "Check the task")
    if found is None:
        return Verdict(0.0, None, "none")
    return Verdict(float(found.value == wanted.value), str(found.value), found.rule)
