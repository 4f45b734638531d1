"""How far a merged base is from base and adapter, told by logits. Imports torch: import it late."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from peft import PeftModel
from transformers import AutoModelForCausalLM, AutoTokenizer

from adapters.base import BaseProfile
from adapters.fingerprint import PROMPTS


@dataclass(frozen=True, slots=True)
class Nearness:
    """`apart` is the greatest difference of a logit; `lost` the share of the adapter's effect.

    What rounding to the base's type loses is the difference's norm over the effect's.
    """

    apart: float
    lost: float


def compare(merged: Path, folder: Path, base: BaseProfile) -> Nearness:
    """Everything computed in float32, so that only what is stored counts."""
    tokenizer = AutoTokenizer.from_pretrained(base.folder)
    most = min(64, base.context)
    asked = [torch.tensor([tokenizer.encode(text)[:most]]) for text in PROMPTS]
    causal = AutoModelForCausalLM.from_pretrained(base.folder, dtype=torch.float32)
    lora = PeftModel.from_pretrained(causal, folder).eval()
    wanted = _logits(lora, asked)
    with lora.disable_adapter():
        before = _logits(lora, asked)
    del causal, lora
    made = _logits(AutoModelForCausalLM.from_pretrained(merged, dtype=torch.float32).eval(), asked)
    gap = made - wanted
    effect = float((wanted - before).norm())
    return Nearness(float(gap.abs().max()), float(gap.norm()) / effect if effect else 0.0)


def _logits(causal: Any, asked: list[torch.Tensor]) -> torch.Tensor:
    with torch.no_grad():
        return torch.cat([causal(input_ids=one, use_cache=False).logits[0] for one in asked])
