"""Train an adapter from rows into a folder that `AdapterRegistry.add` takes as it is, or a base.

Composes and publishes; the learning itself, and with it torch, is in `lora`, imported when called.
"""

from __future__ import annotations

import json
import shutil
import tempfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Final

from adapters.base import BaseProfile
from adapters.manifest import (
    CARD_FILE,
    CONFIG_FILE,
    WEIGHTS_FILE,
    AdapterCard,
    BaseIdentity,
    TrainingRecord,
    to_json,
)
from adapters.tensors import read_header
from adapters.training.crew import gathered
from adapters.training.rendering import (
    Row,
    dataset_digest,
    read_rows,
    trained_with,
)
from adapters.training.settings import Progress, Report, TrainSettings
from adapters.verify import verify_adapter
from indexer.errors import BadInput
from indexer.settings import store_errors

if TYPE_CHECKING:
    from adapters.training.lora import Learner, Lesson

TRAINED_FILE: Final = "trained.json"  # the card of a base that was trained in full
# Gives rows what the service would have put into their prompts.
Pose = Callable[[Sequence[Row]], Iterable[Row]]


@dataclass(frozen=True, slots=True)
class Plan:
    """What is about to be learned: of so many rows these lessons, by this learner."""

    rows: int
    lessons: list[Lesson]
    learner: Learner


# Sees the plan before the first step; an exception of its own ends the run there.
Preview = Callable[[Plan], None]

__all__ = ["Plan", "Preview", "Progress", "Report", "TrainSettings", "train_adapter"]


def train_adapter(
    settings: TrainSettings,
    report: Report = lambda progress: None,
    pose: Pose | None = None,
    preview: Preview = lambda plan: None,
) -> Path:
    """Train an adapter, or a base in full; return its folder, which appears once it is complete.

    `pose` gives each row what the service would have put into its prompt; `preview` sees the
    plan before the first step. A run that was cut short is gone on with from `settings.run`.
    """
    if settings.out.exists() and not _is_empty_folder(settings.out):
        raise BadInput(f"{settings.out} is not an empty folder", "Name another, or delete it")
    base = BaseProfile.read(settings.base)
    rows = _rows(settings, settings.rows)
    checked = _rows(settings, settings.validation) if settings.validation else []
    from adapters.training import checkpoint, lora  # torch takes seconds: rows are checked first
    from adapters.training.lessons import lessons_of

    with gathered() as crew, lora.seeded(settings), _staged(settings.out) as stage:
        learner = lora.attach(replace(settings, device=crew.device or settings.device), base)
        rows, checked = (list(pose(some)) if pose and some else some for some in (rows, checked))
        lessons = lessons_of(settings, base, rows, learner)
        preview(Plan(len(rows), lessons, learner))
        held_out = lessons_of(settings, base, checked, learner) if checked else []
        kept = checkpoint.Checkpoint(settings.run, writes=crew.place == 0)
        losses = lora.Run(settings, learner.lora, kept, report, crew).learn(lessons, held_out)
        card = _card(settings, base, rows, lessons, losses)
        (_write_base if settings.method == "full" else _write_adapter)(
            stage, learner, settings, base, card
        )
    kept.clear()
    return settings.out


def _rows(settings: TrainSettings, path: Path) -> list[Row]:
    """Rows of the kind that the method learns from; BadInput names the first of another."""
    rows = read_rows(path)
    wanted = {"continued": "text", "dpo": "preference"}.get(settings.method, "chat")
    for row in rows:
        kind = "preference" if row.worse else "chat" if row.messages else "text"
        if kind != wanted:
            raise BadInput(
                f"{row.place} is a {kind} row, --method {settings.method} learns from {wanted}",
                "Train the rows of each kind by their own method",
            )
    return rows


def _is_empty_folder(path: Path) -> bool:
    return path.is_dir() and not any(path.iterdir())


def _card(
    settings: TrainSettings,
    base: BaseProfile,
    rows: Sequence[Row],
    lessons: Sequence[Lesson],
    losses: Sequence[float],
) -> AdapterCard:
    last = losses[-10:]
    return AdapterCard(
        name=settings.name,
        base=BaseIdentity(name=base.name, digest=base.digest, parts=dict(base.parts)),
        prompt_format=settings.prompt_format,
        trained_with=trained_with(rows),
        dataset_digest=dataset_digest(settings.rows),
        note=settings.note,
        training=TrainingRecord(
            rows=len(lessons),
            skipped=max(0, len(rows) - len(lessons)),
            steps=len(losses),
            batch=settings.batch * settings.accumulate,
            method=settings.method,
            learning_rate=settings.learning_rate,
            seed=settings.seed,
            first_loss=round(losses[0], 4),
            last_loss=round(sum(last) / len(last), 4),
        ),
    )


@contextmanager
def _staged(out: Path) -> Iterator[Path]:
    """A folder beside `out` that takes its place when all went well, and vanishes otherwise."""
    with store_errors(out):
        out.parent.mkdir(parents=True, exist_ok=True)
        stage = Path(tempfile.mkdtemp(dir=out.parent, prefix=f".{out.name}-"))
    try:
        yield stage
        with store_errors(out):
            stage.chmod(0o755)
            stage.rename(out)  # an empty folder may stand there
    finally:
        shutil.rmtree(stage, ignore_errors=True)


def _write_base(
    stage: Path, learner: Learner, settings: TrainSettings, base: BaseProfile, card: AdapterCard
) -> None:
    """A base's folder, with a card that says what it came from."""
    from adapters.training.full import save_base

    save_base(learner, base, stage)
    with store_errors(stage):
        (stage / TRAINED_FILE).write_bytes(to_json(card))
    BaseProfile.read(stage)


def _write_adapter(
    stage: Path, learner: Learner, settings: TrainSettings, base: BaseProfile, card: AdapterCard
) -> None:
    """A folder that verification lets pass, and what an engine should make of it."""
    from adapters.fingerprinting import take
    from adapters.training.lora import save

    save(learner, stage / WEIGHTS_FILE)
    taken = take(learner.lora, learner.tokenizer, base.context)
    _describe(stage, settings, base, card.model_copy(update={"fingerprint": taken}))
    verify_adapter(stage, base, settings.rank)


def _describe(stage: Path, settings: TrainSettings, base: BaseProfile, card: AdapterCard) -> None:
    """Write what PEFT and vLLM read, and the card; nothing of this machine goes into either."""
    modules = {name.split(".lora_")[0] for name in read_header(stage / WEIGHTS_FILE)}
    config = {
        "peft_type": "LORA",
        "task_type": "CAUSAL_LM",
        "base_model_name_or_path": base.name,
        "r": settings.rank,
        "lora_alpha": settings.alpha,
        "use_rslora": settings.method == "rslora",
        "lora_dropout": 0.0,
        "bias": "none",
        "inference_mode": True,
        "target_modules": sorted({module.rsplit(".", 1)[-1] for module in modules}),
    }
    with store_errors(stage):
        (stage / CONFIG_FILE).write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")
        (stage / CARD_FILE).write_bytes(to_json(card))
