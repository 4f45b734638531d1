"""The LoRA itself: attached to a base, taught answer tokens, written as safetensors.

The only module here that imports torch, transformers and peft: import it late.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import torch
from peft import LoraConfig, PeftModel, get_peft_model, get_peft_model_state_dict
from safetensors.torch import save_file
from torch.nn import functional
from transformers import (
    AutoModelForCausalLM,
    AutoTokenizer,
    GenerationConfig,
    PreTrainedTokenizerBase,
)

from adapters.base import BaseProfile
from adapters.dataset import TokenRow, batches
from adapters.errors import TrainingFailed
from adapters.settings import Progress, Report, TrainSettings
from indexer.errors import BadInput
from indexer.settings import store_errors

_IGNORED: Final = -100
_LEAST_RATE: Final = 0.05


@dataclass(frozen=True, slots=True)
class Learner:
    """A base with fresh LoRA weights, its tokenizer, and the tokens that end an answer."""

    lora: PeftModel
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
    """Load the base in an explicit dtype and add fresh LoRA weights (arXiv 2106.09685)."""
    device = torch.device(settings.device or ("cuda" if torch.cuda.is_available() else "cpu"))
    half = settings.dtype == "bf16" or (settings.dtype == "auto" and device.type != "cpu")
    dtype = torch.bfloat16 if half else torch.float32
    causal = AutoModelForCausalLM.from_pretrained(base.folder, dtype=dtype).to(device)
    config = LoraConfig(
        task_type="CAUSAL_LM",
        r=settings.rank,
        lora_alpha=settings.alpha,
        lora_dropout=0.0,
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
    tokenizer: PreTrainedTokenizerBase = AutoTokenizer.from_pretrained(base.folder)
    return Learner(lora, tokenizer, _end_tokens(causal.generation_config, tokenizer))


def _end_tokens(generation: GenerationConfig, tokenizer: PreTrainedTokenizerBase) -> frozenset[int]:
    """Every token at which the engine would stop."""
    configured = generation.eos_token_id
    several = configured if isinstance(configured, list) else [configured]
    return frozenset(token for token in (*several, tokenizer.eos_token_id) if token is not None)


def learn(
    settings: TrainSettings, learner: Learner, rows: Sequence[TokenRow], report: Report
) -> list[float]:
    """Run the optimiser and return the loss of every step."""
    lora = learner.lora
    steps = settings.steps or max(1, round(settings.epochs * len(rows) / settings.batch))
    weights = [weight for weight in lora.parameters() if weight.requires_grad]
    optimiser = torch.optim.AdamW(weights, lr=settings.learning_rate, weight_decay=0.0)
    losses: list[float] = []
    seen, started = 0, time.monotonic()
    lora.train()
    for step, batch in zip(
        range(1, steps + 1), batches(rows, settings.batch, settings.seed), strict=False
    ):
        for group in optimiser.param_groups:
            group["lr"] = settings.learning_rate * _rate(step, steps, settings.warmup)
        loss = _loss(lora, batch)
        losses.append(loss.item())
        if not torch.isfinite(loss):
            raise TrainingFailed(
                f"The loss is {losses[-1]} at step {step}", "Lower the learning rate"
            )
        optimiser.zero_grad()
        torch.autograd.backward(loss)
        torch.nn.utils.clip_grad_norm_(weights, settings.clip)
        optimiser.step()
        seen += sum(len(row.tokens) for row in batch)
        elapsed = time.monotonic() - started
        left = elapsed / step * (steps - step)
        report(Progress(step, steps, losses[-1], seen / max(elapsed, 1e-9), left))
    return losses


def _rate(step: int, steps: int, warmup: int) -> float:
    """The share of the learning rate: a linear rise, then a linear fall."""
    rise = step / (warmup + 1)
    return min(1.0, rise, max(_LEAST_RATE, (steps - step + 1) / max(1, steps - warmup)))


def _loss(lora: PeftModel, batch: list[TokenRow]) -> torch.Tensor:
    """Mean cross-entropy over the batch's answer tokens, their end token included.

    Rows are padded on the left, so the answers end together and logits of the longest answer's
    length are all that is computed: prompts are long and vocabularies wide.
    """
    length = max(len(row.tokens) for row in batch)
    longest = max(len(row.tokens) - row.answer_start for row in batch)
    padding = [length - len(row.tokens) for row in batch]
    padded = [[0] * pad + list(row.tokens) for pad, row in zip(padding, batch, strict=True)]
    tokens = torch.tensor(padded, device=lora.device)
    starts = torch.tensor(padding, device=lora.device)[:, None]
    asked = torch.tensor([row.answer_start for row in batch], device=lora.device)[:, None]
    places = torch.arange(length, device=lora.device)[None] - starts
    with _autocast(lora.device):
        logits = lora(
            input_ids=tokens,
            attention_mask=(places >= 0).long(),
            position_ids=places.clamp(min=0),
            logits_to_keep=longest + 1,
            use_cache=False,
        ).logits
    answers = tokens.masked_fill(places < asked, _IGNORED)[:, -longest:]
    return functional.cross_entropy(
        logits[:, :-1].float().flatten(0, 1), answers.flatten(), ignore_index=_IGNORED
    )


def _autocast(device: torch.device) -> torch.autocast:
    """Compute in bf16 where the hardware does so natively."""
    known = torch.cpu.get_capabilities() if device.type == "cpu" else {"cuda": True}
    able = any(known.get(flag) for flag in ("avx512_bf16", "amx_bf16", "cuda"))
    return torch.autocast(device.type, torch.bfloat16, enabled=able)


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
