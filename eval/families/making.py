"""A tiny base of a family and an adapter trained on it by this program's own code."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from adapters.base import BaseProfile
from adapters.manifest import CARD_FILE, AdapterCard, read_pinned
from adapters.verify import AdapterFacts, verify_adapter
from eval.families.shapes import Shape
from eval.families.tiny import build

if TYPE_CHECKING:
    from adapters.training.settings import TrainSettings

SYSTEM: Final = "Be brief."
ANSWER: Final = "Blue, blue and blue."
QUESTIONS: Final = ("Which colour is it?", "What is it?", "Say it again.", "And now?")
RANK: Final = 8
STEPS: Final = 40


@dataclass(frozen=True, slots=True)
class Made:
    """Where base and adapter lie, and what the adapter's card and its files say."""

    shape: Shape
    base: BaseProfile
    adapter: Path
    card: AdapterCard
    facts: AdapterFacts


def make(shape: Shape, folder: Path) -> Made:
    """Below `folder`: `base` and `adapters/tiny`. AdapterRefused if what was trained is not fit."""
    from adapters.training.train import train_adapter  # takes seconds

    base = BaseProfile.read(build(shape, folder / "base"))
    rows = folder / "rows.jsonl"
    rows.write_text("".join(_row(question) for question in QUESTIONS), "utf-8")
    out = train_adapter(settings(base, rows, folder / "adapters" / "tiny"))
    return Made(
        shape, base, out, read_pinned(out / CARD_FILE, AdapterCard), verify_adapter(out, base, RANK)
    )


def settings(base: BaseProfile, rows: Path, out: Path) -> TrainSettings:
    """Few steps at a rate at which random weights learn four rows by heart."""
    from adapters.training.settings import TrainSettings

    return TrainSettings(
        base=str(base.folder),
        rows=rows,
        out=out,
        name="tiny",
        system=SYSTEM,
        steps=STEPS,
        batch=4,
        learning_rate=5e-3,
        rank=RANK,
        alpha=2 * RANK,
        warmup=2,
        device="cpu",
        note="four rows by heart",
    )


def _row(question: str) -> str:
    turns = [{"role": "user", "content": question}, {"role": "assistant", "content": ANSWER}]
    return json.dumps({"messages": turns}) + "\n"
