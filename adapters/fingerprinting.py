"""Computes fingerprints with transformers and peft: what an engine should make of a version.

Of this room's modules one of those that import torch: import it late.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from peft import PeftModel
from transformers import AutoModelForCausalLM, AutoTokenizer, PreTrainedTokenizerBase

from adapters.base import BaseProfile
from adapters.fingerprint import PROMPTS, Fingerprint, asked_of
from adapters.templates import encoded


def fingerprint_of(folder: Path, base: BaseProfile) -> Fingerprint:
    """Of a saved adapter: loads the base in full precision, and the adapter on it by peft."""
    causal = AutoModelForCausalLM.from_pretrained(base.folder, dtype=torch.float32)
    lora = PeftModel.from_pretrained(causal, folder)
    return take(lora, AutoTokenizer.from_pretrained(base.folder), base.context)


def take(lora: Any, tokenizer: PreTrainedTokenizerBase, context: int) -> Fingerprint:
    """Of a base with an adapter attached, wherever it lies; it is left as it was found."""
    prompts, tokens = asked_of(_texts(tokenizer), context)
    was_training = lora.training
    lora.eval()
    try:
        with torch.no_grad():
            adapter = _logprobs(lora, prompts, tokens)
            with lora.disable_adapter():
                base = _logprobs(lora, prompts, tokens)
    finally:
        lora.train(was_training)
    return Fingerprint(tokens=tokens, prompts=prompts, base=base, adapter=adapter)


def _texts(tokenizer: PreTrainedTokenizerBase) -> list[list[int]]:
    """The same short conversations for every base, in its own template."""
    found = []
    for text in PROMPTS:
        asked, answer = text[: len(text) // 2], text[len(text) // 2 :]
        turns = [{"role": "user", "content": asked}, {"role": "assistant", "content": answer}]
        found.append(encoded(tokenizer, turns, opened=False))
    return found


def _logprobs(
    lora: Any, prompts: Sequence[Sequence[int]], tokens: Sequence[int]
) -> tuple[tuple[float, ...], ...]:
    """How probable each token is after each prompt: natural logarithms, (prompts, tokens)."""
    found = []
    for prompt in prompts:
        ids = torch.tensor([list(prompt)], device=lora.device)
        logits = lora(input_ids=ids, use_cache=False).logits[0, -1].float()
        chosen = torch.log_softmax(logits, -1)[list(tokens)]
        found.append(tuple(round(value, 4) for value in chosen.tolist()))
    return tuple(found)
