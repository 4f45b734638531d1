"""Train an adapter from chat rows into a folder that `AdapterRegistry.add` takes as it is.

Composes and publishes; the learning itself, and with it torch, is in `lora`, imported when called.
"""

from __future__ import annotations

import json
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from adapters.base import BaseProfile
from adapters.dataset import (
    Rendering,
    Row,
    TokenRow,
    dataset_digest,
    read_chat,
    render,
    trained_with,
)
from adapters.manifest import (
    CARD_FILE,
    CONFIG_FILE,
    WEIGHTS_FILE,
    AdapterCard,
    BaseIdentity,
    TrainingRecord,
    to_json,
)
from adapters.settings import Progress, Report, TrainSettings
from adapters.tensors import read_header
from adapters.verify import verify_adapter
from indexer.errors import BadInput
from indexer.settings import store_errors

if TYPE_CHECKING:
    from adapters.lora import Learner

__all__ = ["Progress", "Report", "TrainSettings", "train_adapter"]


def train_adapter(settings: TrainSettings, report: Report = lambda progress: None) -> Path:
    """Train one adapter and return its folder, which appears only when it is complete."""
    if settings.out.exists() and not _is_empty_folder(settings.out):
        raise BadInput(f"{settings.out} is not an empty folder", "Name another, or delete it")
    base = BaseProfile.read(settings.base)
    rows = read_chat(settings.rows)
    from adapters import lora  # torch takes seconds: rows and base are checked first

    with lora.seeded(settings), _staged(settings.out) as stage:
        learner = lora.attach(settings, base)
        tokens = _fitting(settings, base, rows, learner)
        losses = lora.learn(settings, learner, tokens, report)
        lora.save(learner, stage / WEIGHTS_FILE)
        _describe(stage, settings, base, _card(settings, base, rows, tokens, losses))
        verify_adapter(stage, base, settings.rank)
    return settings.out


def _is_empty_folder(path: Path) -> bool:
    return path.is_dir() and not any(path.iterdir())


def _fitting(
    settings: TrainSettings, base: BaseProfile, rows: Sequence[Row], learner: Learner
) -> list[TokenRow]:
    """Render every row; one that exceeds the context is left out whole, never cut."""
    rendering = Rendering(
        settings.prompt_format, settings.system, settings.refusal, learner.end_tokens
    )
    rendered = [render(row, rendering, learner.tokenizer) for row in rows]
    limit = settings.max_tokens or base.context
    fitting = [row for row in rendered if len(row.tokens) <= limit]
    if not fitting:
        shortest = min(len(row.tokens) for row in rendered)
        raise BadInput(
            f"No row of {settings.rows} fits into {limit} tokens, the shortest has {shortest}",
            "Shorten the rows, or take a base with a longer context",
        )
    return fitting


def _card(
    settings: TrainSettings,
    base: BaseProfile,
    rows: Sequence[Row],
    tokens: Sequence[TokenRow],
    losses: Sequence[float],
) -> AdapterCard:
    last = losses[-10:]
    return AdapterCard(
        name=settings.name,
        base=BaseIdentity(name=base.name, digest=base.digest),
        prompt_format=settings.prompt_format,
        trained_with=trained_with(rows),
        dataset_digest=dataset_digest(settings.rows),
        note=settings.note,
        training=TrainingRecord(
            rows=len(tokens),
            skipped=len(rows) - len(tokens),
            steps=len(losses),
            batch=settings.batch,
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


def _describe(stage: Path, settings: TrainSettings, base: BaseProfile, card: AdapterCard) -> None:
    """Write what PEFT and vLLM read, and the card; nothing of this machine goes into either."""
    modules = {name.split(".lora_")[0] for name in read_header(stage / WEIGHTS_FILE)}
    config = {
        "peft_type": "LORA",
        "task_type": "CAUSAL_LM",
        "base_model_name_or_path": base.name,
        "r": settings.rank,
        "lora_alpha": settings.alpha,
        "lora_dropout": 0.0,
        "bias": "none",
        "inference_mode": True,
        "target_modules": sorted({module.rsplit(".", 1)[-1] for module in modules}),
    }
    with store_errors(stage):
        (stage / CONFIG_FILE).write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")
        (stage / CARD_FILE).write_bytes(to_json(card))
