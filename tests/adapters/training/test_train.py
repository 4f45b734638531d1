"""train_adapter() on a tiny Llama: it learns answers only, repeats by seed, and is served."""

import json
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import PeftModel
from transformers import AutoModelForCausalLM, AutoTokenizer

from adapters.base import BaseProfile
from adapters.errors import TrainingFailed
from adapters.registry import AdapterRegistry
from adapters.training import lora
from adapters.training.losses import answer_loss
from adapters.training.rendering import TokenRow
from adapters.training.train import Progress, TrainSettings, train_adapter
from indexer.errors import BadInput
from indexer.settings import Paths

QUESTIONS = {"How often?": "weekly", "Who pays?": "the buyer", "Where to?": "Larkfield"}


@pytest.fixture
def settings(tmp_path: Path, llama: Path) -> TrainSettings:
    rows = [
        {"messages": [{"role": "user", "content": q}, {"role": "assistant", "content": a}]}
        for q, a in QUESTIONS.items()
    ]
    path = tmp_path / "rows.jsonl"
    path.write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
    return TrainSettings(
        base=str(llama),
        rows=path,
        out=tmp_path / "out",
        name="house-style",
        rank=4,
        alpha=8,
        steps=2,
        batch=3,
        learning_rate=2e-2,
        warmup=2,
        threads=1,
        device="cpu",
    )


def answer(base: Path, adapter: Path, question: str) -> str:
    tokenizer = AutoTokenizer.from_pretrained(base)
    causal = AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32)
    served = PeftModel.from_pretrained(causal, adapter)
    asked = tokenizer.apply_chat_template(
        [{"role": "user", "content": question}], add_generation_prompt=True, return_tensors="pt"
    )
    written = served.generate(**asked, max_new_tokens=24, do_sample=False)
    return str(tokenizer.decode(written[0, asked["input_ids"].shape[1] :]))


def test_it_learns_the_answers_and_to_stop(settings: TrainSettings, llama: Path) -> None:
    folder = train_adapter(replace(settings, steps=80))
    for question, expected in QUESTIONS.items():
        assert answer(llama, folder, question) == f"{expected}</s>"
    card = json.loads((folder / "adapter.json").read_bytes())
    assert card["training"]["last_loss"] < 0.1 < card["training"]["first_loss"]


def files_of(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_the_same_seed_gives_the_same_bytes_and_another_does_not(
    settings: TrainSettings, tmp_path: Path
) -> None:
    first, again, other = (
        files_of(train_adapter(replace(settings, out=tmp_path / name, seed=seed)))
        for name, seed in (("a", 0), ("b", 0), ("c", 1))
    )
    assert first == again
    assert first["adapter_model.safetensors"] != other["adapter_model.safetensors"]


def test_what_it_writes_is_added_without_another_word(
    settings: TrainSettings, paths: Paths, llama: Path
) -> None:
    folder = train_adapter(settings)
    added = AdapterRegistry(paths).add(folder, base=BaseProfile.read(llama), max_rank=8)
    assert (added.name, added.rank, added.prompt_format) == ("house-style", 4, "sentences")
    assert "q_proj" in added.target_modules
    assert "lm_head" not in added.target_modules


def test_nothing_of_this_machine_is_written(settings: TrainSettings, tmp_path: Path) -> None:
    for name, content in files_of(train_adapter(settings)).items():
        assert str(tmp_path).encode() not in content, name


def test_every_user_may_read_what_it_writes(settings: TrainSettings) -> None:
    folder = train_adapter(settings)
    assert {path.stat().st_mode & 0o444 for path in (folder, *folder.iterdir())} == {0o444}


def test_progress_is_told_after_every_step(settings: TrainSettings) -> None:
    told: list[Progress] = []
    train_adapter(settings, told.append)
    assert [(one.step, one.steps) for one in told] == [(1, 2), (2, 2)]
    assert told[-1].seconds_left == 0
    assert all(one.tokens_per_second > 0 and math.isfinite(one.loss) for one in told)


def test_torch_is_left_as_it_was_found(settings: TrainSettings) -> None:
    before = (torch.get_num_threads(), torch.initial_seed(), torch.random.get_rng_state())
    train_adapter(settings)
    assert (torch.get_num_threads(), torch.initial_seed()) == before[:2]
    assert torch.equal(torch.random.get_rng_state(), before[2])


def test_the_loss_is_that_of_the_answer_tokens_whatever_the_padding(
    settings: TrainSettings, llama: Path
) -> None:
    with lora.seeded(settings):
        learner = lora.attach(settings, BaseProfile.read(llama))
    rows = [TokenRow((1, 9, 8, 7, 20, 21, 2), 4), TokenRow((1, 30, 31, 2), 3)]
    exact = [answer_losses(learner.lora, row) for row in rows]
    expected = sum(map(sum, exact)) / sum(map(len, exact))
    with torch.no_grad():
        found = answer_loss(learner.lora, rows).item()
    assert found == pytest.approx(expected, rel=2e-2)


def answer_losses(causal: Any, row: TokenRow) -> list[float]:
    """The loss of each answer token, one row at a time, unpadded, in fp32."""
    with torch.no_grad():
        logits = causal(input_ids=torch.tensor([row.tokens])).logits[0]
    scores = torch.log_softmax(logits.float(), -1)
    places = range(row.answer_start, len(row.tokens))
    return [-scores[place - 1, row.tokens[place]].item() for place in places]


def test_a_row_longer_than_the_context_is_left_out_whole_and_counted(
    settings: TrainSettings,
) -> None:
    lines = settings.rows.read_text(encoding="utf-8")
    long = {
        "messages": [
            {"role": "user", "content": "why " * 300},
            {"role": "assistant", "content": "so"},
        ]
    }
    settings.rows.write_text(f"{lines}\n{json.dumps(long)}", encoding="utf-8")
    card = json.loads((train_adapter(settings) / "adapter.json").read_bytes())
    assert (card["training"]["rows"], card["training"]["skipped"]) == (3, 1)


def test_when_no_row_fits_the_lengths_are_named(settings: TrainSettings) -> None:
    with pytest.raises(BadInput, match="fits into 4 tokens, the shortest has"):
        train_adapter(replace(settings, max_tokens=4))
    assert not settings.out.exists()


def test_a_folder_that_holds_something_is_left_alone(settings: TrainSettings) -> None:
    settings.out.mkdir()
    (settings.out / "mine").touch()
    with pytest.raises(BadInput, match="not an empty folder"):
        train_adapter(settings)
    assert [path.name for path in settings.out.iterdir()] == ["mine"]


def test_a_loss_that_explodes_stops_and_writes_nothing(
    settings: TrainSettings, tmp_path: Path
) -> None:
    with pytest.raises(TrainingFailed, match="at step"):
        train_adapter(replace(settings, learning_rate=1e30, steps=20))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["rows.jsonl"]


def test_target_modules_that_the_base_lacks_are_named(settings: TrainSettings) -> None:
    with pytest.raises(BadInput, match="x_proj"):
        train_adapter(replace(settings, target_modules=("x_proj",)))


def test_a_run_that_is_cut_short_goes_on_to_the_same_bytes(
    settings: TrainSettings, tmp_path: Path
) -> None:
    whole = replace(settings, steps=7, save_steps=2, out=tmp_path / "whole")
    cut = replace(whole, run=tmp_path / "run", out=tmp_path / "cut")

    def stop(progress: Progress) -> None:
        if progress.step == 5:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train_adapter(cut, stop)
    assert not cut.out.exists()
    told: list[Progress] = []
    train_adapter(cut, told.append)
    assert [one.step for one in told] == [5, 6, 7], "it began anew"
    assert files_of(cut.out) == files_of(train_adapter(whole))
    assert not (tmp_path / "run").exists(), "a finished run left its state"


def test_validation_ends_a_run_that_gains_nothing_and_keeps_the_best(
    settings: TrainSettings, tmp_path: Path
) -> None:
    other = tmp_path / "other.jsonl"
    row = [{"role": "user", "content": "How often?"}, {"role": "assistant", "content": "never"}]
    other.write_text(json.dumps({"messages": row}), encoding="utf-8")
    told: list[Progress] = []
    kept = train_adapter(
        replace(settings, steps=200, validation=other, check_steps=2, patience=3), told.append
    )
    held = {one.step: one.held_out for one in told if one.held_out is not None}
    best = min(held, key=lambda step: held[step] or 0.0)
    assert len(told) == best + 2 * 3 < 200
    again = train_adapter(
        replace(
            settings,
            steps=200,
            validation=other,
            check_steps=2,
            patience=3,
            out=tmp_path / "again",
            save_steps=1,
        )
    )
    assert (kept / "adapter_model.safetensors").read_bytes() == (
        again / "adapter_model.safetensors"
    ).read_bytes()


def test_accumulated_batches_are_one_step(settings: TrainSettings, tmp_path: Path) -> None:
    told: list[Progress] = []
    train_adapter(replace(settings, batch=1, accumulate=3, epochs=2, steps=None), told.append)
    assert [(one.step, one.steps) for one in told] == [(1, 2), (2, 2)]


def test_rslora_is_saved_with_its_own_scale(
    settings: TrainSettings, paths: Paths, llama: Path
) -> None:
    folder = train_adapter(replace(settings, method="rslora", steps=60))
    assert json.loads((folder / "adapter_config.json").read_bytes())["use_rslora"] is True
    assert answer(llama, folder, "Who pays?") == "the buyer</s>"


def test_a_preference_raises_the_better_answer_over_the_worse(
    settings: TrainSettings, llama: Path
) -> None:
    rows = [{"prompt": q, "chosen": a, "rejected": "nobody knows"} for q, a in QUESTIONS.items()]
    settings.rows.write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
    told: list[Progress] = []
    folder = train_adapter(replace(settings, method="dpo", steps=30), told.append)
    assert told[0].loss == pytest.approx(math.log(2), rel=1e-3), "the reference is not the base"
    assert told[-1].loss < 0.2
    causal = AutoModelForCausalLM.from_pretrained(llama, dtype=torch.float32)
    served = PeftModel.from_pretrained(causal, folder)
    tokenizer = AutoTokenizer.from_pretrained(llama)
    gains = []
    for said in ("the buyer", "nobody knows"):
        row = token_row(tokenizer, "Who pays?", said)
        with served.disable_adapter():
            before = sum(answer_losses(served, row))
        gains.append(before - sum(answer_losses(served, row)))
    assert gains[0] - gains[1] > 5


def token_row(tokenizer: Any, question: str, said: str) -> TokenRow:
    asked = [{"role": "user", "content": question}]
    whole = [*asked, {"role": "assistant", "content": said}]
    prompt = tokenizer.apply_chat_template(asked, add_generation_prompt=True)["input_ids"]
    tokens = tokenizer.apply_chat_template(whole)["input_ids"]
    return TokenRow(tuple(tokens), len(prompt))


def test_plain_text_is_learned_in_windows_without_a_question(
    settings: TrainSettings, llama: Path
) -> None:
    text = "The lamp stands in the hall. " * 40
    settings.rows.write_text(json.dumps({"text": text}), encoding="utf-8")
    folder = train_adapter(replace(settings, method="continued", steps=40))
    card = json.loads((folder / "adapter.json").read_bytes())
    assert card["training"]["rows"] > 3
    assert card["training"]["last_loss"] < 1 < card["training"]["first_loss"]


@pytest.mark.parametrize("method", ["continued", "dpo"])
def test_rows_of_another_kind_are_named(settings: TrainSettings, method: Any) -> None:
    with pytest.raises(BadInput, match=rf"rows\.jsonl:1 is a chat row, --method {method}"):
        train_adapter(replace(settings, method=method))


def test_qlora_without_its_library_says_what_to_run(settings: TrainSettings) -> None:
    with pytest.raises(BadInput, match="Run `make training`"):
        train_adapter(replace(settings, method="qlora"))


def test_a_base_trained_in_full_is_a_base_that_knows_the_answers(
    settings: TrainSettings, llama: Path
) -> None:
    made = train_adapter(replace(settings, method="full", steps=60, learning_rate=5e-3))
    before, after = BaseProfile.read(llama), BaseProfile.read(made)
    assert after.digest != before.digest
    assert after.modules == before.modules
    causal = AutoModelForCausalLM.from_pretrained(made)
    assert causal.dtype == AutoModelForCausalLM.from_pretrained(llama).dtype
    tokenizer = AutoTokenizer.from_pretrained(made)
    for question, expected in QUESTIONS.items():
        asked = tokenizer.apply_chat_template(
            [{"role": "user", "content": question}], add_generation_prompt=True, return_tensors="pt"
        )
        written = causal.generate(**asked, max_new_tokens=24, do_sample=False)
        said = tokenizer.decode(written[0, asked["input_ids"].shape[1] :])
        assert said == f"{expected}</s>"
    card = json.loads((made / "trained.json").read_bytes())
    assert card["base"]["digest"] == before.digest
    assert card["training"]["method"] == "full"


def test_a_base_trained_in_full_goes_on_after_a_cut_to_the_same_weights(
    settings: TrainSettings, tmp_path: Path
) -> None:
    whole = replace(settings, method="full", steps=5, save_steps=2, out=tmp_path / "whole")
    cut = replace(whole, run=tmp_path / "run", out=tmp_path / "cut")

    def stop(progress: Progress) -> None:
        if progress.step == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train_adapter(cut, stop)
    weights = [(train_adapter(one) / "model.safetensors").read_bytes() for one in (cut, whole)]
    assert weights[0] == weights[1]
