"""Computes fingerprints with transformers and peft: what an engine should make of a version.

Of this room's modules one of those that import torch: import it late.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import torch
from peft import PeftModel
from transformers import AutoModelForCausalLM, AutoTokenizer, PreTrainedTokenizerBase

from adapters.base import BaseProfile
from adapters.fingerprint import PROMPTS, Fingerprint

_LONGEST: Final = 48
_SHORTEST: Final = 8


def fingerprint_of(folder: Path, base: BaseProfile) -> Fingerprint:
    """Of a saved adapter: loads the base in full precision, and the adapter on it by peft."""
    causal = AutoModelForCausalLM.from_pretrained(base.folder, dtype=torch.float32)
    lora = PeftModel.from_pretrained(causal, folder)
    return take(lora, AutoTokenizer.from_pretrained(base.folder), base.context)


def take(lora: Any, tokenizer: PreTrainedTokenizerBase, context: int) -> Fingerprint:
    """Of a base with an adapter attached, wherever it lies; it is left as it was found."""
    prompts = _prompts(tokenizer, context)
    was_training = lora.training
    lora.eval()
    try:
        with torch.no_grad():
            adapter = _logprobs(lora, prompts)
            with lora.disable_adapter():
                base = _logprobs(lora, prompts)
    finally:
        lora.train(was_training)
    return Fingerprint(prompts=prompts, base=base, adapter=adapter)


def _prompts(tokenizer: PreTrainedTokenizerBase, context: int) -> tuple[tuple[int, ...], ...]:
    """The same conversations for every base, in its own template; their ends, where they differ."""
    longest = max(_SHORTEST, min(_LONGEST, context // 2))
    found = []
    for text in PROMPTS:
        asked, answer = text[: len(text) // 2], text[len(text) // 2 :]
        turns = [{"role": "user", "content": asked}, {"role": "assistant", "content": answer}]
        encoded = tokenizer.apply_chat_template(turns, tokenize=True, return_dict=True)
        found.append(tuple(encoded["input_ids"][:longest]))
    return tuple(found)


def _logprobs(lora: Any, prompts: Sequence[Sequence[int]]) -> tuple[tuple[float, ...], ...]:
    found = []
    for prompt in prompts:
        tokens = torch.tensor([list(prompt)], device=lora.device)
        logits = lora(input_ids=tokens, use_cache=False).logits[0, :-1].float()
        chosen = torch.log_softmax(logits, -1).gather(1, tokens[0, 1:, None])[:, 0]
        found.append(tuple(round(value, 4) for value in chosen.tolist()))
    return tuple(found)
