"""QLoRA with the real bitsandbytes: it is found, gradients stay right, and a killed run goes on.

In processes of their own, as users run it: this one must not import what only training uses.
"""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from adapters.errors import TrainingFailed
from adapters.training import extras
from adapters.training.optimising import check_gradients
from adapters.training.rendering import TokenRow
from indexer.errors import BadInput

ROOT = Path(__file__).resolve().parents[3]
INSTALLED = (extras.folder() / "set-up").is_file()
WHERE_INSTALLED = pytest.mark.skipif(not INSTALLED, reason="no .venv/train: `make training`")
QUESTIONS = {"How often?": "weekly", "Who pays?": "the buyer", "Where to?": "Larkfield"}
STEPS, KILLED_AT = 64, 57

# Gradients before and after an evaluation, of the base as the product loads it and as it would be
# without the guard.
GRADIENTS = """
import json, shutil, sys
from pathlib import Path
from adapters.training.extras import admit_extras
admit_extras("qlora")
import torch
from transformers import AutoConfig, AutoModelForCausalLM
from adapters.base import BaseProfile
from adapters.errors import TrainingFailed
from adapters.training import loading, lora
from adapters.training.checkpoint import Checkpoint, State
from adapters.training.optimising import optimiser_of
from adapters.training.rendering import TokenRow
from adapters.training.settings import TrainSettings
from bitsandbytes.nn import Linear4bit

# Wide enough to be repacked: a row of a matrix holds whole blocks of 64.
folder = Path(sys.argv[2])
shutil.copytree(sys.argv[1], folder)
config = AutoConfig.from_pretrained(folder)
config.hidden_size, config.intermediate_size, config.head_dim = 64, 128, 16
torch.manual_seed(0)
AutoModelForCausalLM.from_config(config).save_pretrained(folder)

def changed(guarded):
    if not guarded:
        loading.keep_unpacked = lambda module: None
    settings = TrainSettings(
        base=str(folder), rows=Path(), out=Path(), name="x", method="qlora", steps=1
    )
    with lora.seeded(settings):
        learner = lora.attach(settings, BaseProfile.read(settings.base))
    lessons = [(TokenRow((1, 9, 8, 7, 20, 21, 2), 4),), (TokenRow((1, 30, 31, 2), 3),)]
    packed = [layer for layer in learner.lora.modules() if isinstance(layer, Linear4bit)]
    states = [layer.weight.quant_state for layer in packed]
    try:
        lora.Run(settings, learner.lora, Checkpoint(None), lambda told: None).learn(lessons)
        said = ""
    except TrainingFailed as error:
        said = str(error)
    return {
        "said": said,
        "layers": len(packed),
        "types": sorted({state.quant_type for state in states}),
        "nested": all(state.nested for state in states),
    }

# The optimiser of a GPU: without one bitsandbytes steps alike, with nothing to page.
def paged(state):
    settings = TrainSettings(base="", rows=Path(), out=Path(), name="x", method="qlora")
    weight = torch.nn.Parameter(state.weights.get("w", torch.ones(64, 64)).clone())
    optimiser = optimiser_of(settings, torch.device("cuda"), [weight])
    if state.step:
        optimiser.load_state_dict(state.optimiser)
    weight.grad = torch.linspace(-1, 1, 4096).view(64, 64)
    optimiser.step()
    return type(optimiser).__name__, State(1, weights={"w": weight.detach().clone()},
                                           optimiser=optimiser.state_dict())

def resumed():
    name, first = paged(State())
    kept = Checkpoint(folder / "kept")
    kept.save(first)
    again, straight = paged(kept.load())[1], paged(first)[1]
    return [name, torch.equal(again.weights["w"], straight.weights["w"])]

from bitsandbytes.nn.modules import has_avx512bf16
print(json.dumps([has_avx512bf16(), changed(True), changed(False), resumed()]))
"""

# Stands in for Weights & Biases: told each step, it ends the process for good at the chosen one.
TRACKER = """
import os, signal
from contextlib import contextmanager

class Run:
    def log(self, numbers, step):
        with open(os.environ["TOLD"], "a", encoding="utf-8") as told:
            told.write(f"{step}\\n")
        if step == int(os.environ.get("KILLED_AT", "0")):
            os.kill(os.getpid(), signal.SIGKILL)

@contextmanager
def init(project, name, config):
    yield Run()
"""


@pytest.fixture
def rows(tmp_path: Path) -> Path:
    path = tmp_path / "rows.jsonl"
    lines = [{"question": question, "answer": said} for question, said in QUESTIONS.items()]
    path.write_text("\n".join(map(json.dumps, lines)), encoding="utf-8")
    return path


def domain(folder: Path) -> Path:
    (folder / "kitchen").mkdir(parents=True)
    (folder / "kitchen" / "domain.toml").write_text("", encoding="utf-8")
    return folder


def start(rows: Path, llama: Path, store: Path, **more: str) -> "subprocess.Popen[str]":
    """The command as a user gives it, told where everything is."""
    method = "qlora" if INSTALLED else "lora"
    command = f"adapters train kitchen --name tone --steps {STEPS} --batch 2 --seed 3"
    command += f" --tracker wandb --method {method}"
    files = ["--rows", str(rows), "--validation", str(rows)]
    return subprocess.Popen(
        [sys.executable, "-m", "dslm", *command.split(), *files],
        cwd=ROOT,
        env={
            **os.environ,
            "DSLM_STORE": str(store),
            "DSLM_DOMAINS": str(rows.parent / "domains"),
            "DSLM_BASE": str(llama),
            "PYTHONPATH": str(rows.parent / "trackers"),
            "TOLD": str(store) + ".told",
            **more,
        },
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def told(store: Path) -> list[int]:
    return [int(line) for line in Path(f"{store}.told").read_text(encoding="utf-8").split()]


@pytest.mark.slow
def test_a_run_killed_by_the_system_goes_on_and_ends_in_the_same_version(
    rows: Path, llama: Path, tmp_path: Path
) -> None:
    domain(tmp_path / "domains")
    (tmp_path / "trackers").mkdir()
    (tmp_path / "trackers" / "wandb.py").write_text(TRACKER, encoding="utf-8")
    cut, whole = tmp_path / "cut", tmp_path / "whole"
    undisturbed = start(rows, llama, whole)
    killed = start(rows, llama, cut, KILLED_AT=str(KILLED_AT))
    said = killed.communicate(timeout=300)
    assert killed.returncode == -signal.SIGKILL, said
    assert not list((cut / "adapters").glob("*/manifest.json")), "half a run was stored"
    resumed = start(rows, llama, cut)
    results = [one.communicate(timeout=300) for one in (resumed, undisturbed)]
    assert [one.returncode for one in (resumed, undisturbed)] == [0, 0], results
    assert results[0][0] == results[1][0], "another version came of it"
    assert results[0][0].startswith("tone@1 ")
    assert told(whole) == list(range(1, STEPS + 1))
    assert told(cut) == [*range(1, KILLED_AT + 1), *range(51, STEPS + 1)], "it began anew"
    assert not list((cut / "training").iterdir()), "a finished run left its state"


@WHERE_INSTALLED
@pytest.mark.slow
def test_an_evaluation_of_a_four_bit_base_leaves_its_gradients_right(
    llama: Path, tmp_path: Path
) -> None:
    done = subprocess.run(
        [sys.executable, "-c", GRADIENTS, str(llama), str(tmp_path / "wide")],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    has_defect, guarded, unguarded, paged = json.loads(done.stdout.splitlines()[-1])
    assert guarded == {"said": "", "layers": 14, "types": ["nf4"], "nested": True}
    # Only processors with AVX512-BF16 show what the guard is for.
    assert bool(unguarded["said"]) == bool(has_defect)
    assert not has_defect or "changes the gradients" in unguarded["said"]
    assert paged == ["PagedAdamW32bit", True], "a killed run would not go on as it was"


class Spoiled(torch.nn.Module):
    """A layer whose gradients are wrong from the first evaluation on, without a word."""

    def __init__(self, factor: float) -> None:
        super().__init__()
        self.weight = torch.nn.Parameter(torch.ones(40, 8))
        self.device = torch.device("cpu")
        self._factor = factor

    def forward(self, input_ids: torch.Tensor, **_: object) -> object:
        if not self.training:
            self.spoiled = True
        weight: torch.Tensor = self.weight
        if "spoiled" in self.__dict__:
            weight = weight.detach() * (1 - self._factor) + weight * self._factor
        seen = torch.nn.functional.embedding(input_ids, weight)
        return type("Out", (), {"logits": (seen @ weight.T)[:, -4:]})


@pytest.mark.parametrize(("factor", "stops"), [(1.0, False), (0.5, True)])
def test_gradients_that_an_evaluation_changes_stop_the_run(factor: float, stops: bool) -> None:
    lessons = [(TokenRow((1, 9, 8, 20, 2), 2),)]
    if not stops:
        check_gradients(Spoiled(factor), lessons, 0.1)
        return
    with pytest.raises(TrainingFailed, match=r"size 0\.500 of what it was"):
        check_gradients(Spoiled(factor), lessons, 0.1)


def test_qlora_without_its_library_says_what_to_run(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(sys, "prefix", str(tmp_path))
    with pytest.raises(BadInput, match=r"bitsandbytes.*`make training`"):
        extras.admit_extras("qlora")
    assert str(tmp_path / "train") not in sys.path
    extras.admit_extras("lora")


def test_what_only_training_uses_is_on_no_other_programs_path() -> None:
    assert str(extras.folder()) not in sys.path
    assert "bitsandbytes" not in sys.modules
