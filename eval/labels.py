"""Label accuracy on banking77 with solved examples as chat turns: what demonstrations are worth.

Dr.ICL (Luo et al. 2023): examples retrieved for the question beat examples drawn at random.
"""

import asyncio
import random
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from eval.client import Client, Message
from eval.progress import phase, watched
from eval.questions import read_rows
from eval.stats import Share
from indexer.errors import BadInput

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Matrix = NDArray[np.float32]

SHOTS = 4
LABEL_TOKENS = 24
NONE, NEAREST, RANDOM, COPIED = "none", "4 retrieved", "4 random", "nearest label, no model"


@dataclass(frozen=True, slots=True)
class Example:
    """A text and its label."""

    text: str
    label: str


@dataclass(frozen=True, slots=True)
class LabelSettings:
    """`pool` training rows are searched for `rows` test rows; both drawn by `seed`."""

    rows: int = 200
    pool: int = 5000
    seed: int = 1


@dataclass(frozen=True, slots=True)
class LabelScore:
    """Accuracy under one choice of demonstrations."""

    demonstrations: str
    accuracy: Share


def read_examples(file: Path) -> list[Example]:
    """Rows with `text` and `label`."""
    rows = []
    for number, row in read_rows(file):
        if not all(isinstance(row.get(name), str) for name in ("text", "label")):
            raise BadInput(f"{file}:{number} lacks text or label", 'Each row: {"text", "label"}')
        rows.append(Example(row["text"], row["label"]))
    return rows


async def measure(client: Client, folder: Path, settings: LabelSettings) -> list[LabelScore]:
    """Accuracy of the service's `base` with no, random and retrieved demonstrations."""
    chance = random.Random(settings.seed)
    tests = draw(read_examples(folder / "test.jsonl"), settings.rows, chance)
    pool = draw(read_examples(folder / "train.jsonl"), settings.pool, chance)
    nearest = _nearest(pool, tests)
    arms: dict[str, list[list[Example]]] = {
        NONE: [[] for _ in tests],
        RANDOM: [chance.sample(pool, SHOTS) for _ in tests],
        NEAREST: nearest,
    }
    scores = [await _arm(client, name, shots, tests) for name, shots in arms.items()]
    copied = Share.of(s[-1].label == t.label for s, t in zip(nearest, tests, strict=True))
    return [*scores, LabelScore(COPIED, copied)]


def draw(examples: Sequence[Example], count: int, chance: random.Random) -> list[Example]:
    """`count` of them without repetition, or all."""
    return chance.sample(examples, min(count, len(examples)))


def turns(shots: Sequence[Example], text: str) -> list[Message]:
    """Examples as earlier turns, then the text to label."""
    messages: list[Message] = []
    for shot in shots:
        messages.append({"role": "user", "content": _asked(shot.text)})
        messages.append({"role": "assistant", "content": shot.label})
    return [*messages, {"role": "user", "content": _asked(text)}]


def rank(pool: "Matrix", tests: "Matrix", count: int) -> list[list[int]]:
    """For each row of `tests` [n, d], the `count` nearest rows of `pool`, the nearest last."""
    order: list[list[int]] = (tests @ pool.T).argsort(axis=1)[:, -count:].tolist()
    return order


def _asked(text: str) -> str:
    return f"Text: {text}\nLabel:"


def _nearest(pool: Sequence[Example], tests: Sequence[Example]) -> list[list[Example]]:
    rows = rank(_embed([e.text for e in pool]), _embed([e.text for e in tests]), SHOTS)
    return [[pool[i] for i in row] for row in rows]


def _embed(texts: list[str], batch: int = 256) -> "Matrix":
    import numpy as np  # heavy rooms are entered only by the command that needs them

    from indexer.domain import EmbedderSettings
    from indexer.embedding.embedder import Embedder

    embedder = Embedder(EmbedderSettings())
    parts = []
    starts = range(0, len(texts), batch)
    with phase(f"embedding {len(texts)} texts", len(starts)) as advance:
        for start in starts:
            parts.append(embedder.embed_symmetric(texts[start : start + batch]))
            advance()
    return np.concatenate(parts)


async def _arm(
    client: Client, name: str, shots: Sequence[Sequence[Example]], tests: Sequence[Example]
) -> LabelScore:
    with phase(f"banking77, demonstrations: {name}", len(tests)) as advance:
        asked = [
            watched(_label(client, own, test.text), advance)
            for own, test in zip(shots, tests, strict=True)
        ]
        labels = await asyncio.gather(*asked)
    hits = Share.of(label == test.label for label, test in zip(labels, tests, strict=True))
    return LabelScore(name, hits)


async def _label(client: Client, shots: Sequence[Example], text: str) -> str:
    options: dict[str, Any] = {"temperature": 0, "max_tokens": LABEL_TOKENS}
    answer = await client.chat("base", turns(shots, text), options)
    return answer.text.strip()
