"""Trackers: imported only when asked for, told every step, and nothing of this machine."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from adapters.training.settings import Progress, TrainSettings
from adapters.training.tracking import tracking
from indexer.errors import BadInput

SETTINGS = TrainSettings(
    base="/models/tiny", rows=Path("/home/me/rows.jsonl"), out=Path("x"), name="tone"
)
STEPS = [Progress(1, 2, 3.5, 100.0, 1.0), Progress(2, 2, 2.5, 110.0, 0.0, held_out=2.75)]
TOLD = [
    ({"loss": 3.5, "tokens_per_second": 100.0}, 1),
    ({"loss": 2.5, "tokens_per_second": 110.0, "held_out": 2.75}, 2),
]


class Recorder:
    """Looks like either library; remembers what it was told and whether its run was closed."""

    def __init__(self) -> None:
        self.told: list[tuple[Any, int]] = []
        self.settings: dict[str, Any] = {}
        self.name, self.closed = "", False

    @contextmanager
    def init(self, project: str, name: str, config: dict[str, Any]) -> Iterator[Any]:
        self.name, self.settings = f"{project}/{name}", config
        try:
            yield SimpleNamespace(log=self.log_metrics)
        finally:
            self.closed = True

    def set_experiment(self, project: str) -> None:
        self.name = project

    @contextmanager
    def start_run(self, run_name: str) -> Iterator[None]:
        self.name += f"/{run_name}"
        try:
            yield
        finally:
            self.closed = True

    def log_params(self, told: dict[str, Any]) -> None:
        self.settings = told

    def log_metrics(self, numbers: dict[str, float], step: int) -> None:
        self.told.append((numbers, step))


@pytest.mark.parametrize("tracker", ["wandb", "mlflow"])
def test_a_tracker_is_told_the_settings_and_every_step(
    tracker: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    recorder = Recorder()
    monkeypatch.setitem(sys.modules, tracker, recorder)
    with tracking(tracker, SETTINGS) as report:
        for step in STEPS:
            report(step)
        assert not recorder.closed
    assert recorder.closed
    assert recorder.told == TOLD
    assert recorder.name == "dslm/tone"
    assert recorder.settings["rows"] == "rows.jsonl"
    assert recorder.settings["base"] == "tiny"
    assert "/" not in repr(recorder.settings)


@pytest.mark.parametrize("tracker", ["wandb", "mlflow"])
def test_a_tracker_that_is_not_installed_says_what_to_run(
    tracker: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, tracker, None)  # as if it were not there
    with pytest.raises(BadInput, match=f"pip install {tracker}"):
        tracking(tracker, SETTINGS)


def test_without_a_tracker_none_is_imported(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("wandb", "mlflow"):
        monkeypatch.setitem(sys.modules, name, None)
    with tracking("none", SETTINGS) as report:
        report(STEPS[0])
