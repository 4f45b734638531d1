"""Several processes learn what one would: shares of a batch whose gradients add up to the whole."""

from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from adapters.base import BaseProfile
from adapters.training import lora
from adapters.training.checkpoint import Checkpoint
from adapters.training.crew import Crew, gathered, is_first
from adapters.training.losses import learned_from
from adapters.training.rendering import TokenRow
from adapters.training.settings import TrainSettings

LESSONS = [
    (TokenRow((1, 9, 8, 7, 20, 21, 2), 4),),
    (TokenRow((1, 30, 31, 2), 3),),
    (TokenRow((1, 12, 13, 14, 15, 2), 2),),
]
PAIRS = [(TokenRow((1, 9, 8, 2), 2), TokenRow((1, 9, 30, 31, 2), 2)) for _ in range(3)]


class Board:
    """Stands in for the network: what each process of a round says is added up for all."""

    def __init__(self) -> None:
        self.said: list[torch.Tensor] = []

    def crew(self, place: int, count: int) -> Crew:
        return Crew(place, count, "cpu", lambda tensor: self.said.append(tensor.clone()))


@given(st.integers(0, 20), st.integers(1, 5))
def test_every_item_is_one_processes_share(items: int, count: int) -> None:
    shares = [Crew(place, count).share(range(items)) for place in range(count)]
    assert sorted(item for share in shares for item in share) == list(range(items))


@pytest.mark.parametrize("method", ["lora", "dpo"])
@pytest.mark.parametrize("count", [2, 4])
def test_the_shares_gradients_add_up_to_those_of_the_whole_batch(
    llama: Path, method: Any, count: int
) -> None:
    lessons: list[Any] = PAIRS if method == "dpo" else LESSONS
    settings = TrainSettings(
        base=str(llama),
        rows=Path(),
        out=Path(),
        name="x",
        method=method,
        rank=4,
        batch=3,
        steps=1,
        warmup=0,
        learning_rate=0.0,
        device="cpu",
        dtype="fp32",
    )
    with lora.seeded(settings):
        learner = lora.attach(settings, BaseProfile.read(llama)).lora
    weights = [weight for weight in learner.parameters() if weight.requires_grad]

    def learn(crew: Crew) -> list[torch.Tensor]:
        lora.Run(settings, learner, Checkpoint(None), lambda told: None, crew).learn(lessons)
        return [weight.grad.clone() for weight in weights if weight.grad is not None]

    settings_clip = torch.cat([grad.flatten() for grad in learn(Crew())])
    board = Board()
    for place in range(count):
        learn(board.crew(place, count))
    losses, grads = board.said[::2], board.said[1::2]
    whole = torch.stack(grads).sum(0)
    # The run clips to length 1; the direction, and the length where it is shorter, are the same.
    whole *= min(1.0, 1.0 / (whole.norm().item() + 1e-6))
    torch.testing.assert_close(whole, settings_clip, rtol=3e-2, atol=3e-4)
    assert len(losses) == count


def test_a_loss_is_weighed_by_what_it_is_the_mean_of() -> None:
    assert learned_from(LESSONS) == 3 + 1 + 4
    assert learned_from(PAIRS) == 3


def test_only_the_first_process_writes(tmp_path: Path) -> None:
    state = Checkpoint(None).load()
    state.step = 5
    Checkpoint(tmp_path / "run", writes=False).save(state)
    assert not (tmp_path / "run").exists()
    Checkpoint(tmp_path / "run").save(state)
    Checkpoint(tmp_path / "run", writes=False).clear()
    assert Checkpoint(tmp_path / "run", writes=False).load().step == 5


def test_a_process_that_nothing_started_is_alone_and_first(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("WORLD_SIZE", raising=False)
    monkeypatch.delenv("RANK", raising=False)
    assert is_first()
    with gathered() as crew:
        assert (crew.place, crew.count, crew.total(2.5)) == (0, 1, 2.5)
    monkeypatch.setenv("RANK", "1")
    assert not is_first()
