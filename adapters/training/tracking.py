"""A run's progress told to Weights & Biases or MLflow, which are imported only when asked for.

Where they send it is theirs to say (WANDB_MODE, MLFLOW_TRACKING_URI); nothing of a row goes there.
"""

from __future__ import annotations

import importlib
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import asdict
from pathlib import Path
from typing import Any, Literal, TypeAlias

from adapters.training.settings import Progress, Report, TrainSettings
from indexer.errors import BadInput

Tracker: TypeAlias = Literal["none", "wandb", "mlflow"]
_PROJECT = "dslm"


def tracking(tracker: Tracker, settings: TrainSettings) -> AbstractContextManager[Report]:
    """What to tell each step to; BadInput where the tracker is not installed."""
    if tracker == "none":
        return nullcontext(_nothing)
    try:
        library = importlib.import_module(tracker)
    except ImportError as error:
        raise BadInput(
            f"{tracker} is not installed here ({error})",
            f"Run `.venv/bin/pip install {tracker}`, or leave --tracker out",
        ) from error
    told = _settings(settings)
    return (_wandb if tracker == "wandb" else _mlflow)(library, settings.name, told)


def _nothing(progress: Progress) -> None:
    """No tracker was asked for."""


@contextmanager
def _wandb(wandb: Any, name: str, told: dict[str, Any]) -> Iterator[Report]:
    """A run that Weights & Biases shows as failed where training failed."""
    with wandb.init(project=_PROJECT, name=name, config=told) as run:
        yield lambda progress: run.log(_numbers(progress), step=progress.step)


@contextmanager
def _mlflow(mlflow: Any, name: str, told: dict[str, Any]) -> Iterator[Report]:
    mlflow.set_experiment(_PROJECT)
    with mlflow.start_run(run_name=name):
        mlflow.log_params(told)
        yield lambda progress: mlflow.log_metrics(_numbers(progress), step=progress.step)


def _settings(settings: TrainSettings) -> dict[str, Any]:
    """Files by their name only: where they lie is this machine's business."""
    told = asdict(settings)
    for field in ("out", "run", "device", "threads", "system", "refusal"):
        del told[field]
    told["base"] = Path(settings.base).name
    return {name: value.name if isinstance(value, Path) else value for name, value in told.items()}


def _numbers(progress: Progress) -> dict[str, float]:
    found = {"loss": progress.loss, "tokens_per_second": progress.tokens_per_second}
    return found if progress.held_out is None else {**found, "held_out": progress.held_out}
