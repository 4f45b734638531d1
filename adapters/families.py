"""Families of bases: how each is told by its configuration, and with what its adapters begin.

The rates are those of torchtune's LoRA recipes for the family (`recipes/configs/<source>`), read
there; where it has none, and for plain text, the default of QLoRA's own code.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any, Final

from adapters.base import find_base

DEFAULT_RATE: Final = 2e-4
QLORA: Final = "artidoro/qlora, its default"


@dataclass(frozen=True, slots=True)
class Family:
    """`types`: what `model_type` says in its bases' config.json; `rate`: where learning begins."""

    name: str
    types: tuple[str, ...]
    rate: float
    source: str


FAMILIES: Final = (
    Family("Llama 3.x", ("llama",), 3e-4, "llama3_1/8B_lora.yaml"),
    Family("Mistral", ("mistral",), 2e-5, "mistral/7B_lora.yaml"),
    Family("Qwen 2.5", ("qwen2",), 3e-4, "qwen2_5/7B_lora.yaml"),
    Family("Qwen 3", ("qwen3",), 3e-4, "qwen3/8B_lora.yaml"),
    Family("Gemma 2", ("gemma2",), 2e-5, "gemma2/9B_lora.yaml"),
    Family("Gemma 3", ("gemma3", "gemma3_text"), DEFAULT_RATE, QLORA),
    Family("Phi-3 and Phi-4", ("phi3",), 3e-4, "phi3/mini_lora.yaml, phi4/14B_lora.yaml"),
)
# Of what is no LoRA of answers. alignment-handbook's zephyr-7b-beta/dpo/config_qlora.yaml; Llama 2
# (arXiv 2307.09288), section 3.1.
RATES: Final = {"dpo": 5e-6, "full": 2e-5}
OTHERS: Final = Family("other", (), DEFAULT_RATE, QLORA)


def family_of(config: dict[str, Any]) -> Family:
    """By a base's config.json; DeepSeek's distilled bases are of the family they were made from."""
    kind = config.get("model_type")
    return next((family for family in FAMILIES if kind in family.types), OTHERS)


def first_rate(base: str, method: str) -> float:
    """Where a training begins that is told no learning rate; BaseRefused if there is no base."""
    if method not in ("lora", "rslora", "qlora"):
        return RATES.get(method, DEFAULT_RATE)
    return family_of(json.loads((find_base(base) / "config.json").read_text("utf-8"))).rate
