"""What a run tells before its first step: the rows as learned, how, and the memory it takes."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from adapters.base import BaseProfile
from adapters.training import lora, memory, showing
from adapters.training.losses import answer_loss
from adapters.training.memory import Memory, estimate
from adapters.training.rendering import TokenRow
from adapters.training.settings import TrainSettings
from adapters.training.train import Plan, train_adapter

SHORT, LONG = TokenRow((1, 9, 8, 2), 2), TokenRow((1, *range(6, 60), 2), 40)


class Seen(Exception):
    """The plan was shown; nothing needs to be trained."""


@pytest.fixture
def settings(tmp_path: Path, llama: Path) -> TrainSettings:
    asked = [("Who pays?", "the buyer"), ("Where to?", "Larkfield"), ("why " * 300, "so")]
    rows = [json.dumps({"question": question, "answer": said}) for question, said in asked]
    path = tmp_path / "rows.jsonl"
    path.write_text("\n".join(rows), encoding="utf-8")
    return TrainSettings(
        base=str(llama), rows=path, out=tmp_path / "out", name="x", rank=4, device="cpu"
    )


def test_rows_are_shown_as_seen_and_as_learned_before_the_first_step(
    settings: TrainSettings, capsys: pytest.CaptureFixture[str]
) -> None:
    def preview(plan: Plan) -> None:
        showing.show(plan, settings)
        raise Seen

    with pytest.raises(Seen):
        train_adapter(settings, preview=preview)
    said = capsys.readouterr()
    assert said.out == ""
    assert "<|user|>Who pays?</s><|assistant|>>>>the buyer</s><<<" in said.err
    assert "2 rows, 46 tokens, the longest 23; 1 rows do not fit and are left out" in said.err
    assert "lora on cpu, AdamW" in said.err
    assert "MiB of weights" in said.err


@pytest.mark.parametrize(
    ("device", "words"), [("cpu", "not paged: there is no GPU"), ("cuda", "; paged AdamW")]
)
def test_qlora_says_how_it_quantises_and_whether_its_optimiser_is_paged(
    device: str, words: str
) -> None:
    said = showing._way("qlora", device)
    assert "NF4, quantised twice" in said
    assert said.endswith(words)


def test_memory_is_that_of_the_longest_lesson_times_the_batch(
    settings: TrainSettings,
) -> None:
    with lora.seeded(settings):
        learner = lora.attach(settings, BaseProfile.read(settings.base)).lora
    few, many = (estimate(learner, [(SHORT,), (LONG,)] * 8, size, 0.1) for size in (2, 8))
    assert 2 < many.batch / few.batch < 4, "something is kept once for all rows"
    assert estimate(learner, [(SHORT,)] * 8, 8, 0.1).batch < many.batch / 3
    learned = sum(weight.numel() for weight in learner.parameters() if weight.requires_grad)
    assert few.learning == 12 * learned
    assert few.weights == sum(weight.numel() * 4 for weight in learner.parameters())
    assert few.needed == few.weights + few.learning + few.batch


def test_what_is_told_of_a_batch_is_what_autograd_then_keeps(settings: TrainSettings) -> None:
    with lora.seeded(replace(settings, threads=1)):
        learner = lora.attach(settings, BaseProfile.read(settings.base)).lora
    told = estimate(learner, [(LONG,)] * 4, 4, 0.1).batch
    weights = {weight.data_ptr() for weight in learner.parameters()}
    kept: dict[int, torch.Tensor] = {}

    def note(tensor: torch.Tensor) -> torch.Tensor:
        if tensor.untyped_storage().data_ptr() not in weights:
            kept[tensor.untyped_storage().data_ptr()] = tensor
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor):
        answer_loss(learner, [LONG] * 4)
    held = sum(tensor.untyped_storage().nbytes() for tensor in kept.values())
    assert told == pytest.approx(held, rel=0.02)


def test_a_run_that_would_not_fit_is_told_what_to_lower() -> None:
    tight = Memory(weights=500 << 20, learning=20 << 20, batch=90 << 20, free=100 << 20)
    assert "TOO LITTLE, lower --batch" in showing._memory(tight)
    assert "TOO LITTLE" not in showing._memory(replace(tight, free=111 << 20))


def test_what_is_free_is_asked_of_the_machine() -> None:
    assert memory._free(torch.device("cpu")) > 1 << 20
