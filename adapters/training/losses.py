"""What is minimised: the cross-entropy of answers, or the preference between two of them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import torch
from torch.nn import functional

from adapters.training.rendering import TokenRow

_IGNORED: Final = -100


def lesson_loss(lora: Any, lessons: Sequence[tuple[TokenRow, ...]], beta: float) -> torch.Tensor:
    """Of answers, or of preferences where lessons hold a worse answer too."""
    better = [lesson[0] for lesson in lessons]
    worse = [row for lesson in lessons for row in lesson[1:]]
    return preference_loss(lora, better, worse, beta) if worse else answer_loss(lora, better)


def learned_from(lessons: Sequence[tuple[TokenRow, ...]]) -> int:
    """What a loss is the mean of: answer tokens, or preferences."""
    if any(len(lesson) > 1 for lesson in lessons):
        return len(lessons)
    return sum(len(row.tokens) - row.answer_start for lesson in lessons for row in lesson)


def answer_loss(lora: Any, batch: Sequence[TokenRow]) -> torch.Tensor:
    """Mean cross-entropy over the batch's answer tokens, their end tokens included."""
    logits, answers = _answers(lora, batch)
    return functional.cross_entropy(logits.flatten(0, 1), answers.flatten(), ignore_index=_IGNORED)


def preference_loss(
    lora: Any, better: Sequence[TokenRow], worse: Sequence[TokenRow], beta: float
) -> torch.Tensor:
    """DPO (arXiv 2305.18290, equation 7); the base without its adapter is the reference."""
    rows = [*better, *worse]
    learned = _log_likelihood(lora, rows)
    with torch.no_grad(), lora.disable_adapter():
        reference = _log_likelihood(lora, rows)
    gain = learned - reference
    return -functional.logsigmoid(beta * (gain[: len(better)] - gain[len(better) :])).mean()


def _log_likelihood(lora: Any, rows: Sequence[TokenRow]) -> torch.Tensor:
    """Of each row's answer, summed over its tokens: shape (rows,)."""
    logits, answers = _answers(lora, rows)
    losses = functional.cross_entropy(
        logits.flatten(0, 1), answers.flatten(), ignore_index=_IGNORED, reduction="none"
    )
    return -losses.view(answers.shape).sum(1)


def _answers(lora: Any, batch: Sequence[TokenRow]) -> tuple[torch.Tensor, torch.Tensor]:
    """Logits (rows, length, vocabulary) and the tokens they should give, prompts ignored.

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
    with autocast(lora.device):
        logits = lora(
            input_ids=tokens,
            attention_mask=(places >= 0).long(),
            position_ids=places.clamp(min=0),
            logits_to_keep=longest + 1,
            use_cache=False,
        ).logits
    answers = tokens.masked_fill(places < asked, _IGNORED)[:, -longest:]
    return logits[:, :-1].float(), answers


def autocast(device: torch.device) -> torch.autocast:
    """Compute in bf16 where the hardware does so natively."""
    known = torch.cpu.get_capabilities() if device.type == "cpu" else {"cuda": True}
    able = any(known.get(flag) for flag in ("avx512_bf16", "amx_bf16", "cuda"))
    return torch.autocast(device.type, torch.bfloat16, enabled=able)
