"""Tasks: their questions, and what an answer to one is worth."""

from __future__ import annotations

import random
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from eval.scoring.choices import find_choice
from eval.scoring.labels import LabelReader
from eval.scoring.numbers import find_number, lm_eval_flexible, lm_eval_normal, lm_eval_strict
from eval.scoring.texts import (
    holds,
    length_ratio,
    rouge_l,
    squad_exact,
    squad_f1,
    without_signature,
    without_template,
)
from eval.study.readers import LETTERS, Item, read_items
from eval.study.rows import read_labels
from eval.study.spec import TaskSpec
from indexer.errors import BadInput

_SLOT = re.compile(r"\{(question|context|choices|labels)\}")


@dataclass(frozen=True, slots=True)
class Verdict:
    """`score` is 0 to 1; `found` is what was read from the answer, by which `rule`.

    `parts` are further scores of the same answer, by name.
    """

    score: float
    found: str | None
    rule: str
    parts: Mapping[str, float] = field(default_factory=dict)


Judge = Callable[[str, Item], Verdict]


@dataclass(frozen=True, slots=True)
class Task:
    """A task that can be asked: its items in a fixed order, and its judge of answers.

    `repeated` counts rows that ask and expect what another one does: they are asked once.
    """

    spec: TaskSpec
    items: Sequence[Item]
    pool: Sequence[Item]
    judge: Judge
    labels: Sequence[str] = ()
    repeated: int = 0

    def asked(self, item: Item) -> str:
        """The question as it is put."""
        return self._filled(self.spec.prompt, item)

    def opening(self, item: Item) -> str | None:
        """What is said before everything else, if anything is."""
        return self._filled(self.spec.system, item) if self.spec.system else None

    def _filled(self, text: str, item: Item) -> str:
        """In one pass: what stands in a question is never taken for a slot."""
        slots = {
            "question": item.question,
            "context": item.context,
            "choices": "\n".join(
                f"{letter}. {choice}" for letter, choice in zip(LETTERS, item.choices, strict=False)
            ),
            "labels": "\n".join(self.labels),
        }
        return _SLOT.sub(lambda found: slots[found[1]], text)


def open_task(spec: TaskSpec) -> Task:
    """Read a task's files; of more rows than its limit those that a fixed lot draws."""
    rows = read_items(spec.rows, spec)
    items = list({one.id: one for one in rows}.values())
    pool = read_items(spec.pool, spec) if spec.pool else []
    repeated = len(rows) - len(items)
    labels = labels_of(spec, [*items, *pool]) if spec.kind == "label" else []
    if spec.limit and len(items) > spec.limit:
        drawn = sorted(random.Random(spec.name).sample(range(len(items)), spec.limit))
        items = [items[at] for at in drawn]
    return Task(spec, items, pool, judge_of(spec, labels), labels, repeated)


def labels_of(spec: TaskSpec, items: Sequence[Item]) -> list[str]:
    """The closed list; BadInput names an answer that is not on it."""
    said = {one.answer for one in items}
    if not spec.labels:
        return sorted(said)
    labels = read_labels(spec.labels)
    if strange := sorted(said - set(labels)):
        raise BadInput(
            f"{spec.rows} expects {strange[0]!r:.80}, which {spec.labels} does not list",
            "Map it by `classes`, or add it",
        )
    return labels


def judge_of(spec: TaskSpec, labels: Sequence[str]) -> Judge:
    """How answers of a kind are judged; `labels` are all that a label task knows."""
    if spec.kind == "number":
        return _number
    if spec.kind == "choice":
        return _choice
    if spec.kind == "quote":
        return _quote
    if spec.kind == "span":
        return _span
    if spec.kind == "text":
        return _text
    reader = LabelReader(labels, spec.aliases)

    def label(answer: str, item: Item) -> Verdict:
        found = reader.read(without_template(answer))
        name = found.label if found else None
        return Verdict(float(name == item.answer), name, found.rule if found else "none")

    return label


def _number(answer: str, item: Item) -> Verdict:
    """With the verdicts of lm-evaluation-harness' two ways beside, so that figures compare."""
    found, wanted = find_number(answer), find_number(item.answer)
    if wanted is None:
        raise BadInput(f"The expected answer {item.answer!r:.80} has no number", "Check the task")
    gold = lm_eval_normal(item.answer)
    parts = {
        "lm-eval strict": float(lm_eval_strict(answer) == gold),
        "lm-eval flexible": float(lm_eval_flexible(answer) == gold),
    }
    if found is None:
        return Verdict(0.0, None, "none", parts)
    return Verdict(float(found.value == wanted.value), str(found.value), found.rule, parts)


def _choice(answer: str, item: Item) -> Verdict:
    found = find_choice(without_template(answer), item.choices)
    if found is None:
        return Verdict(0.0, None, "none")
    return Verdict(float(found.letter == item.answer), found.letter, found.rule)


def _quote(answer: str, item: Item) -> Verdict:
    return Verdict(max(holds(answer, one) for one in _right(item)), None, "holds")


def _span(answer: str, item: Item) -> Verdict:
    """SQuAD's F1, and its exact match beside."""
    said = without_template(answer)
    exact = squad_exact(said, _right(item))
    return Verdict(squad_f1(said, _right(item)), None, "squad", {"exact": exact})


def _text(answer: str, item: Item) -> Verdict:
    """ROUGE-L without signatures; how long it is beside what is expected; whether it was signed."""
    plain = without_template(answer)
    said, wanted = without_signature(plain), without_signature(item.answer)
    parts = {
        "length ratio": length_ratio(said, wanted),
        "signed": float(said != plain),
    }
    return Verdict(rouge_l(said, wanted), None, "rouge-l", parts)


def _right(item: Item) -> tuple[str, ...]:
    return (item.answer, *item.others)
