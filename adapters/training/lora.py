"""The LoRA itself: attached to a base, taught, written as safetensors.

With its neighbours `loading`, `losses` and `checkpoint` the only modules here that import torch,
transformers and peft: import them late.
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import torch
from peft import LoraConfig, PeftModel, get_peft_model, get_peft_model_state_dict
from safetensors.torch import save_file
from transformers import (
    AutoTokenizer,
    GenerationConfig,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)

from adapters.base import BaseProfile
from adapters.errors import TrainingFailed
from adapters.training.checkpoint import Checkpoint, State, Weights
from adapters.training.crew import Crew
from adapters.training.loading import load_base
from adapters.training.losses import learned_from, lesson_loss
from adapters.training.optimising import check_gradients, optimiser_of
from adapters.training.rendering import TokenRow, batches
from adapters.training.settings import Progress, Report, TrainSettings
from indexer.errors import BadInput
from indexer.settings import store_errors

_LEAST_RATE: Final = 0.05

# A row to learn; of a preference, the better answer and the worse one.
Lesson = tuple[TokenRow, ...]


@dataclass(frozen=True, slots=True)
class Learner:
    """A base with fresh LoRA weights, its tokenizer, and the tokens that end an answer.

    Of a base that is trained in full `lora` is the base itself.
    """

    lora: PeftModel | PreTrainedModel
    tokenizer: PreTrainedTokenizerBase
    end_tokens: frozenset[int]


@contextmanager
def seeded(settings: TrainSettings) -> Iterator[None]:
    """Seed and bound torch, and leave it afterwards as it was found."""
    threads = torch.get_num_threads()
    with torch.random.fork_rng():
        torch.manual_seed(settings.seed)
        torch.set_num_threads(settings.threads or threads)
        try:
            yield
        finally:
            torch.set_num_threads(threads)


def attach(settings: TrainSettings, base: BaseProfile) -> Learner:
    """Load the base and add fresh LoRA weights (arXiv 2106.09685), unless all of it is to learn."""
    causal = load_base(settings, base)
    tokenizer: PreTrainedTokenizerBase = AutoTokenizer.from_pretrained(base.folder)
    ends = _end_tokens(causal.generation_config, tokenizer)
    learner = causal if settings.method == "full" else _with_lora(causal, settings, base)
    return Learner(learner, tokenizer, ends)


def _with_lora(causal: PreTrainedModel, settings: TrainSettings, base: BaseProfile) -> PeftModel:
    """BadInput if the modules that were asked for cannot carry a LoRA."""
    config = LoraConfig(
        task_type="CAUSAL_LM",
        r=settings.rank,
        lora_alpha=settings.alpha,
        lora_dropout=0.0,
        use_rslora=settings.method == "rslora",
        target_modules=list(settings.target_modules) or "all-linear",
    )
    try:
        lora = get_peft_model(causal, config)
    except ValueError as error:
        raise BadInput(
            f"No LoRA can be put on {settings.target_modules} of {base.name} ({error})",
            "Name linear layers of this base, or leave target_modules out",
        ) from error
    assert isinstance(lora, PeftModel)
    return lora


def _end_tokens(
    generation: GenerationConfig | None, tokenizer: PreTrainedTokenizerBase
) -> frozenset[int]:
    """Every token at which the engine would stop."""
    configured = generation.eos_token_id if generation else None
    several = configured if isinstance(configured, list) else [configured]
    return frozenset(token for token in (*several, tokenizer.eos_token_id) if token is not None)


class Run:
    """One run of the optimiser, from wherever its checkpoint says to its end."""

    def __init__(
        self,
        settings: TrainSettings,
        lora: PeftModel | PreTrainedModel,
        checkpoint: Checkpoint,
        report: Report,
        crew: Crew | None = None,
    ) -> None:
        self._settings = settings
        self._crew = crew or Crew()
        self._lora = lora
        self._checkpoint = checkpoint
        self._report = report
        self._weights = {n: w for n, w in lora.named_parameters() if w.requires_grad}
        self._optimiser = optimiser_of(settings, lora.device, self._weights.values())
        self._state = checkpoint.load()
        self._restore(self._state)

    def learn(self, lessons: Sequence[Lesson], held_out: Sequence[Lesson] = ()) -> list[float]:
        """Take every step that is left and return the loss of each; keep the best weights."""
        settings, state = self._settings, self._state
        each = settings.batch * settings.accumulate
        steps = settings.steps or max(1, round(settings.epochs * len(lessons) / each))
        began, first, seen = time.monotonic(), state.step, 0
        drawn = batches(lessons, settings.batch, settings.seed)
        for _ in range(state.step * settings.accumulate):
            next(drawn)
        self._lora.train()
        if settings.method == "qlora":
            check_gradients(self._lora, lessons[: settings.batch], settings.beta)
        while state.step < steps and not self._is_enough():
            parts = [next(drawn) for _ in range(settings.accumulate)]
            loss = self._step(parts, steps)
            held = self._check(held_out, steps)
            if state.step % settings.save_steps == 0:
                self._save()
            seen += sum(len(row.tokens) for part in parts for lesson in part for row in lesson)
            elapsed = time.monotonic() - began
            left = elapsed / (state.step - first) * (steps - state.step)
            self._report(Progress(state.step, steps, loss, seen / max(elapsed, 1e-9), left, held))
        if state.best_weights:
            self._put(state.best_weights)
        return state.losses

    def _step(self, parts: Sequence[Sequence[Lesson]], steps: int) -> float:
        """One step of the optimiser over several batches; TrainingFailed if the loss explodes."""
        settings, state = self._settings, self._state
        rate = settings.learning_rate * _rate(state.step + 1, steps, settings.warmup)
        for group in self._optimiser.param_groups:
            group["lr"] = rate
        self._optimiser.zero_grad()
        total = 0.0
        for part in parts:
            if own := self._crew.share(part):
                share = learned_from(own) / learned_from(part) / len(parts)
                loss = lesson_loss(self._lora, own, settings.beta) * share
                torch.autograd.backward(loss)
                total += loss.item()
        total = self._crew.total(total)
        self._crew.add_gradients(list(self._weights.values()))
        state.step += 1
        if not math.isfinite(total):
            raise TrainingFailed(
                f"The loss is {total} at step {state.step}", "Lower the learning rate"
            )
        torch.nn.utils.clip_grad_norm_(list(self._weights.values()), settings.clip)
        self._optimiser.step()
        state.losses.append(total)
        return total

    def _check(self, held_out: Sequence[Lesson], steps: int) -> float | None:
        """Every so often the mean loss over what is held out; remembers the best weights."""
        settings, state = self._settings, self._state
        if not held_out or (state.step % settings.check_steps and state.step < steps):
            return None
        self._lora.eval()
        with torch.no_grad():
            starts = range(0, len(held_out), settings.batch)
            losses = [
                lesson_loss(self._lora, held_out[at : at + settings.batch], settings.beta).item()
                for at in self._crew.share(starts)
            ]
        self._lora.train()
        found = self._crew.total(sum(losses)) / len(starts)
        state.waited += 1
        if state.best is None or found < state.best:
            state.best, state.best_weights, state.waited = found, self._copy(), 0
        return found

    def _is_enough(self) -> bool:
        return self._state.waited >= self._settings.patience

    def _save(self) -> None:
        self._state.weights = self._copy()
        self._state.optimiser = self._optimiser.state_dict()
        self._checkpoint.save(self._state)

    def _restore(self, state: State) -> None:
        if state.step:
            self._put(state.weights)
            self._optimiser.load_state_dict(state.optimiser)

    def _copy(self) -> Weights:
        return {name: weight.detach().cpu().clone() for name, weight in self._weights.items()}

    def _put(self, weights: Weights) -> None:
        with torch.no_grad():
            for name, weight in self._weights.items():
                weight.copy_(weights[name])


def _rate(step: int, steps: int, warmup: int) -> float:
    """The share of the learning rate: a linear rise, then a linear fall."""
    rise = step / (warmup + 1)
    return min(1.0, rise, max(_LEAST_RATE, (steps - step + 1) / max(1, steps - warmup)))


def save(learner: Learner, path: Path) -> None:
    """Write the LoRA weights as bf16, in an order that does not depend on anything."""
    weights = get_peft_model_state_dict(learner.lora)
    saved = {
        name: weight.detach().to("cpu", torch.bfloat16).contiguous()
        for name, weight in sorted(weights.items())
    }
    with store_errors(path):
        save_file(saved, path, metadata={"format": "pt"})
        path.chmod(0o644)  # safetensors writes for its owner only
