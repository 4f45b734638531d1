"""Measures the demonstration adapters on rows they were not trained on, beside their base."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import nullcontext
from pathlib import Path

import torch
from peft import PeftModel
from transformers import AutoModelForCausalLM, AutoTokenizer

from adapters.prompt import parse_citations
from adapters.training.rendering import Rendering, read_rows, render

Answers = list[tuple[str, str]]
_NEW_TOKENS = 96
_BATCH = 8


class Bench:
    """A base and adapters on it, answering greedily in bf16, as the engine holds them."""

    def __init__(self, base: Path, adapters: Sequence[Path]) -> None:
        self._tokenizer = AutoTokenizer.from_pretrained(base, padding_side="left")
        causal = AutoModelForCausalLM.from_pretrained(base, dtype=torch.bfloat16)
        self._served = PeftModel.from_pretrained(causal, adapters[0], adapter_name=adapters[0].name)
        for folder in adapters[1:]:
            self._served.load_adapter(folder, adapter_name=folder.name)
        self._served.eval()

    def answer(self, rows: Path, adapter: str | None) -> Answers:
        """Answer each row; pairs of what was said and what should have been."""
        rendering = Rendering("sentences", "", "", frozenset({self._tokenizer.eos_token_id}))
        read = read_rows(rows)
        asked = [render(row, rendering, self._tokenizer) for row in read]
        prompts = [list(one.tokens[: one.answer_start]) for one in asked]
        if adapter:
            self._served.set_adapter(adapter)
        with torch.no_grad(), nullcontext() if adapter else self._served.disable_adapter():
            said = [text for batch in _batches(prompts) for text in self._generate(batch)]
        return [(text, row.answer) for text, row in zip(said, read, strict=True)]

    def _generate(self, prompts: list[list[int]]) -> list[str]:
        padded = self._tokenizer.pad({"input_ids": prompts}, return_tensors="pt")
        written = self._served.generate(**padded, max_new_tokens=_NEW_TOKENS, do_sample=False)
        new = written[:, padded["input_ids"].shape[1] :]
        return [text.strip() for text in self._tokenizer.batch_decode(new, True)]


def _batches(prompts: list[list[int]]) -> Iterator[list[list[int]]]:
    for start in range(0, len(prompts), _BATCH):
        yield prompts[start : start + _BATCH]


def cited(answer: str) -> int | None:
    """The first `[n]` of an answer."""
    found = parse_citations(answer)
    return found[0][0] if found else None


def share(answers: Answers, right: Callable[[str, str], bool]) -> float:
    """The share of answers that are right, to three places."""
    return round(sum(right(said, wanted) for said, wanted in answers) / len(answers), 3)


def right_label(said: str, wanted: str) -> bool:
    """The label and nothing else."""
    return said == wanted


def right_source(said: str, wanted: str) -> bool:
    """The same sentence, or both refuse."""
    return cited(said) == cited(wanted)


def answered(answers: Answers) -> Answers:
    """Those that should not, and do not, refuse."""
    return [pair for pair in answers if cited(pair[1]) and cited(pair[0])]


def same_source(first: Answers, second: Answers) -> float:
    """The share of questions on which both choose the same sentence."""
    pairs = [(one[0], other[0]) for one, other in zip(first, second, strict=True)]
    return share(pairs, right_source)
