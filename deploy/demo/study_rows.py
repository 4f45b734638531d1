"""What the demonstration study learns and asks: two domains, their rows, and held-out questions."""

import json
import random
import shutil
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from deploy.demo.adapter_rows import Case, CaseMaker, document_rows, write_rows
from deploy.demo.adapter_shelf import Found, Shelf
from eval.labels import draw, read_examples
from eval.questions import read_all_questions

DEMO: Final = Path(__file__).resolve().parent
INTENTS, HOUSE = "intents", "house"
SHOTS: Final = 4
INTENTS_TOML: Final = f"""title = "What a bank's customer wants"
[answer]
mode = "generate"
max_tokens = 24
[retrieval]
passages = 0
demonstrations = {SHOTS}
min_demonstration_score = 0.0
"""
HOUSE_TOML: Final = """title = "The example domains in one house"
[answer]
mode = "generate"
[retrieval]
passages = 5
demonstrations = 2
"""


@dataclass(frozen=True, slots=True)
class Size:
    """How much is learned and asked; `pool` is also what demonstrations are found among."""

    pool: int = 2000
    asked: int = 200
    cases: int = 480
    questions: int = 60
    label_steps: int = 200
    extract_steps: int = 60
    batch: int = 16
    extract_batch: int = 8


SMALL: Final = Size(
    pool=150,
    asked=12,
    cases=60,
    questions=9,
    label_steps=6,
    extract_steps=4,
    batch=4,
    extract_batch=4,
)


def write_intents(banking: Path, folder: Path, size: Size) -> None:
    """The domain of labels, with a pool of solved examples; and the rows that are asked."""
    chance = random.Random(1)
    pool = draw(read_examples(banking / "train.jsonl"), size.pool, chance)
    tests = draw(read_examples(banking / "test.jsonl"), size.asked, chance)
    place = folder / "domains" / INTENTS
    (place / "documents").mkdir(parents=True, exist_ok=True)
    (place / "domain.toml").write_text(INTENTS_TOML, encoding="utf-8")
    labels = "\n".join(sorted({one.label for one in pool}))
    (place / "documents" / "labels.md").write_text(f"# Labels\n\n{labels}\n", encoding="utf-8")
    solved = [_chat(f"Text: {one.text}\nLabel:", one.label) for one in pool]
    write_rows(place / "demonstrations.jsonl", solved)
    write_rows(folder / f"{INTENTS}.jsonl", solved)
    for name, rows in (("pool", pool), ("rows", tests)):
        told: list[dict[str, Any]] = [{"text": one.text, "label": one.label} for one in rows]
        _write(folder / "labels" / f"{name}.jsonl", told)


def write_house(folder: Path, size: Size) -> None:
    """One domain of the three examples', and their held-out questions with an answer."""
    place = folder / "domains" / HOUSE
    (place / "documents").mkdir(parents=True, exist_ok=True)
    (place / "domain.toml").write_text(HOUSE_TOML, encoding="utf-8")
    solved = []
    for domain in sorted((DEMO / "domains").glob("*/domain.toml")):
        for file in sorted((domain.parent / "documents").iterdir()):
            shutil.copyfile(file, place / "documents" / f"{domain.parent.name}-{file.name}")
        lines = (domain.parent / "demonstrations.jsonl").read_text("utf-8").splitlines()
        solved += [json.loads(line) for line in lines]
    # Messages that are sorted into classes are another task, and would only mislead.
    write_rows(place / "demonstrations.jsonl", (row for row in solved if not _is_label(row)))
    asked = [one for one in read_all_questions(DEMO / "domains") if one.sentence]
    drawn = random.Random(1).sample(asked, min(size.questions, len(asked)))
    _write(
        folder / "extracts" / "rows.jsonl",
        [{"question": one.question, "answer": one.sentence} for one in drawn],
    )


def write_house_rows(folder: Path, size: Size) -> None:
    """Rows to learn from, once without solved examples before the question and once with them."""
    from indexer.domain import EmbedderSettings
    from indexer.embedding.embedder import Embedder

    shelf = Shelf(folder / "domains" / HOUSE, Embedder(EmbedderSettings(), device="cpu"))
    maker = CaseMaker(shelf, random.Random(1))
    cases = maker.make(size.cases, held_out=False, refused=0.2, shots=2)
    alone = (Case(one.question, Found(one.found.pieces, []), one.gold) for one in cases)
    write_rows(folder / f"{HOUSE}-sft.jsonl", document_rows(alone))
    write_rows(folder / f"{HOUSE}-icl.jsonl", document_rows(cases))


def _chat(asked: str, said: str) -> dict[str, Any]:
    turns = (("user", asked), ("assistant", said))
    return {"messages": [{"role": role, "content": content} for role, content in turns]}


def _is_label(row: dict[str, Any]) -> bool:
    return any(turn["content"].endswith("\nLabel:") for turn in row["messages"])


def _write(path: Path, rows: Iterable[dict[str, Any]]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    write_rows(path, rows)
