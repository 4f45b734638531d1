"""Measures an exported model on held-out sets and prints a table.

Example: ``python -m deploy.demo.base.evaluate --model deploy/demo/model --data data``

Greedy decoding gives exactly the wanted text where every wanted token is the likeliest one after
the tokens before it, so one forward pass per item measures selection, copying and verbatim answers.
"""

import argparse
import itertools
import json
import random
import sys
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean
from typing import Any

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from deploy.demo.base.corpus import read_corpus
from deploy.demo.base.heldout import (
    Item,
    Labelled,
    Pair,
    banking,
    facts,
    made,
    medical,
    prompt_of,
    wikipedia,
)
from deploy.demo.base.invent import load_facts
from deploy.demo.base.makers import Maker, Material
from deploy.demo.base.rows import REFUSAL, flat, render, user
from deploy.demo.base.text import Overlap

SIZES = (8, 16, 32)
Figures = dict[str, float | int | None]


@dataclass(frozen=True)
class Judged:
    """What the model did with one item."""

    selected: int
    right: bool
    copied: float
    verbatim: bool


class Judge:
    """Asks a model for whole answers, one forward pass each."""

    def __init__(self, folder: Path) -> None:
        self.tokenizer: Any = AutoTokenizer.from_pretrained(folder)
        self.model: Any = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
        self.numbers = {self.tokenizer.convert_tokens_to_ids(f"[{i}]"): i for i in range(33)}
        self.longest = self.model.config.max_position_embeddings

    @torch.no_grad()
    def likeliest(self, messages: list[dict[str, str]], answer: str) -> tuple[list[int], list[int]]:
        """The wanted answer's tokens, and the model's choice at each; empty if it is too long."""
        prompt = self.tokenizer.apply_chat_template(
            messages, add_generation_prompt=True, return_dict=False
        )
        wanted = self.tokenizer.encode(answer + "</s>", add_special_tokens=False)
        if len(prompt) + len(wanted) > self.longest:
            return [], []
        logits = self.model(torch.tensor([prompt + wanted])).logits[0, len(prompt) - 1 : -1]
        return wanted, logits.argmax(-1).tolist()

    def item(self, item: Item) -> Judged | None:
        """Judge one question; nothing where it does not fit the context."""
        texts = flat(item.passages)
        numbers = range(1, len(texts) + 1)
        gold = min(item.gold, default=None)
        answer = REFUSAL if gold is None else f"[{gold + 1}] {texts[gold]}"
        messages = [*item.before, user(render(item.question, item.passages, numbers))]
        wanted, chosen = self.likeliest(messages, answer)
        if not wanted:
            return None
        selected = self.numbers.get(chosen[0], -1)
        same = [a == b for a, b in zip(wanted[1:], chosen[1:], strict=True)]
        return Judged(selected, selected - 1 in item.gold, fmean(same), all(same))

    def label(self, item: Labelled) -> bool:
        """Whether exactly the right label is written."""
        wanted, chosen = self.likeliest(prompt_of(item), item.label)
        return bool(wanted) and wanted == chosen


def measure(judge: Judge, pairs: Iterable[Pair], count: int, overlap: Overlap) -> Figures:
    """The figures of one set: ``count`` answerable questions and as many without an answer."""
    answered: list[tuple[Item, Judged]] = []
    refused: list[Judged] = []
    skipped = 0
    for item, twin in pairs:
        if len(answered) >= count and len(refused) >= count:
            break
        if len(answered) < count:
            judged = judge.item(item)
            skipped += judged is None
            answered += [(item, judged)] if judged else []
        if twin and len(refused) < count:
            judged = judge.item(twin)
            refused += [judged] if judged else []
    results = [judged for _, judged in answered]
    return {
        "n": len(results),
        "sel": fmean(judged.right for judged in results),
        "word_overlap_sel": fmean(_by_overlap(item, overlap) for item, _ in answered),
        "tok": fmean(judged.copied for judged in results),
        "verbatim": fmean(judged.verbatim for judged in results),
        "n_unanswerable": len(refused),
        "refused_rightly": fmean(judged.selected == 0 for judged in refused),
        "refused_wrongly": fmean(judged.selected == 0 for judged in results),
        "too_long": skipped,
    }


def _by_overlap(item: Item, overlap: Overlap) -> bool:
    scores = [overlap(item.question, text) for text in flat(item.passages)]
    return scores.index(max(scores)) in item.gold


def sets(
    data: Path, seed: int, maker: Maker, sizes: Sequence[int]
) -> Iterator[tuple[str, Iterable[Pair]]]:
    """All question sets by name."""
    for size in sizes:
        yield f"made {size}", made(maker, size)
    yield "made 16, with earlier turns", made(maker, 16, turns=True)
    for size in sizes[:2]:
        yield f"invented facts {size}", facts(maker, size)
    for size in sizes:
        yield f"MedQuAD {size}", medical(maker, size)
    for size in sizes:
        yield f"XQuAD {size}", wikipedia(data, random.Random(seed), size)


def evaluate(
    folder: Path, data: Path, count: int, sizes: Sequence[int] = SIZES, seed: int = 7
) -> dict[str, Any]:
    """All figures of a model."""
    judge = Judge(folder)
    corpus = read_corpus(data)
    overlap = Overlap.count(itertools.islice(corpus.part(False).texts(), 120_000))
    material = Material(corpus.part(held_out=True), overlap, {}, load_facts())
    questions: dict[str, Figures] = {}
    for name, pairs in sets(data, seed, Maker(material, random.Random(seed)), sizes):
        questions[name] = measure(judge, pairs, count, overlap)
        show(row_of(name, questions[name]))
    labels: dict[str, Figures] = {}
    for name, items in banking(data, random.Random(seed), count).items():
        last = fmean(bool(i.examples) and i.examples[-1][1] == i.label for i in items)
        right = fmean(judge.label(item) for item in items)
        labels[name] = {"n": len(items), "right": right, "label_of_last_example": last}
        show(f"| banking77, {name} | {len(items)} | {right:.2f} | {last:.2f} |")
    return {"questions": questions, "banking77": labels}


COLUMNS = ("n", "sel", "word_overlap_sel", "tok", "verbatim", "refused_rightly", "refused_wrongly")


def row_of(name: str, figures: Figures) -> str:
    """One line of the table."""
    cells = []
    for column in COLUMNS:
        value = figures[column]
        digits = 3 if column == "tok" else 2
        cells.append(f"{value:.{digits}f}" if isinstance(value, float) else str(value))
    return f"| {name} | " + " | ".join(cells) + " |"


def show(line: str) -> None:
    """Print a line at once."""
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


def main() -> None:
    """Parse the command line, measure, print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", type=Path, required=True, help="folder of an exported model")
    parser.add_argument("--data", type=Path, required=True, help="folder of data, see corpus.py")
    parser.add_argument("--count", type=int, default=100, help="items of each set, 60 or more")
    parser.add_argument("--sizes", type=int, nargs="+", default=SIZES, help="candidate sentences")
    parser.add_argument("--json", type=Path, help="also write the figures here")
    parser.add_argument("--threads", type=int, default=2)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    show("| set | " + " | ".join(COLUMNS) + " |\n" + "|---" * (len(COLUMNS) + 1) + "|")
    found = evaluate(arguments.model, arguments.data, arguments.count, arguments.sizes)
    if arguments.json:
        arguments.json.write_text(json.dumps(found, indent=1), encoding="utf-8")


if __name__ == "__main__":
    main()
