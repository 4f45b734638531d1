"""The losses: the answer itself, and helpers that tell middle layers what to find out.

The helper heads live only in training; they are saved in checkpoints and never exported.
"""

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from deploy.demo.base.encoding import COPIED, LABEL, SENTENCE_ID, UNKNOWN, Batch
from deploy.demo.base.network import Network
from deploy.demo.base.vocabulary import MAX_ID

MATCH_LAYER, OVERLAP_LAYER, ANSWER_LAYER = 1, 2, 3
_LABEL_WEIGHT = 0.5


@dataclass(frozen=True)
class Outcome:
    """What one batch came to: the loss to descend, and named numbers to report."""

    loss: Tensor
    report: dict[str, float]


class Helpers(nn.Module):
    """Small linear heads on middle layers."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.sentence = nn.Linear(width, MAX_ID + 1)
        self.asked = nn.Linear(width, 1)
        self.overlap = nn.Linear(width, 1)
        self.answer = nn.Linear(width, 2)

    def forward(self, layers: list[Tensor], batch: Batch) -> dict[str, Tensor]:
        """The helper losses that this batch has targets for."""
        losses: dict[str, Tensor] = {}
        if len(batch.closing_at) == 0:
            return losses
        hidden = layers[MATCH_LAYER]
        sentence, asked = batch.sentence[:, :-1], batch.asked[:, :-1]
        # Half of the positions are enough for this one, and cheaper.
        known = (sentence != UNKNOWN) & (torch.rand(sentence.shape, device=hidden.device) < 0.5)
        guess = self.sentence(_normed(hidden[known]))
        losses["sentence"] = 0.5 * functional.cross_entropy(guess, sentence[known])
        judged = asked != UNKNOWN
        losses["asked"] = functional.binary_cross_entropy_with_logits(
            self.asked(_normed(hidden[judged])).squeeze(-1),
            asked[judged].float(),
            pos_weight=hidden.new_tensor(3.0, dtype=torch.float32),
        )
        return losses | self._closing(layers, batch)

    def _closing(self, layers: list[Tensor], batch: Batch) -> dict[str, Tensor]:
        row, position = batch.closing_at.unbind(1)
        near = self.overlap(_normed(layers[OVERLAP_LAYER][row, position])).squeeze(-1)
        judged = batch.closing_answer != UNKNOWN
        guess = self.answer(_normed(layers[ANSWER_LAYER][row[judged], position[judged]]))
        weight = guess.new_tensor([1.0, 3.0])
        target = batch.closing_answer[judged]
        return {
            "overlap": 4.0 * functional.mse_loss(near, batch.closing_overlap),
            "answer": functional.cross_entropy(guess, target, weight=weight),
        }


def _normed(hidden: Tensor) -> Tensor:
    return functional.rms_norm(hidden.float(), (hidden.shape[-1],))


def outcome(
    network: Network, helpers: Helpers, batch: Batch, refusal: int, dtype: torch.dtype
) -> Outcome:
    """Run a batch: the answer's losses by kind of token, the helpers', and accuracies."""
    kinds, targets = batch.kinds[:, 1:], batch.tokens[:, 1:]
    learned = kinds > 0
    device = batch.tokens.device.type
    with torch.autocast(device, dtype, enabled=dtype != torch.float32):
        hidden, layers = network(batch.tokens[:, :-1])
        logits = network.logits(hidden[learned])
    logits, target, kind = logits.float(), targets[learned], kinds[learned]
    each = functional.cross_entropy(logits, target, reduction="none")
    parts = {
        "id": _mean(each, kind == SENTENCE_ID),
        "copy": _mean(each, kind == COPIED),
        "label": _LABEL_WEIGHT * _mean(each, kind == LABEL),
        **helpers(layers, batch),
    }
    report = {f"loss_{name}": float(value.detach()) for name, value in parts.items()}
    report |= _accuracies(logits.detach(), target, kind, refusal)
    return Outcome(torch.stack(list(parts.values())).sum(), report)


def _mean(values: Tensor, chosen: Tensor) -> Tensor:
    return values[chosen].mean() if bool(chosen.any()) else values.sum() * 0.0


def _accuracies(logits: Tensor, target: Tensor, kind: Tensor, refusal: int) -> dict[str, float]:
    right = (logits.argmax(-1) == target).float()
    first = kind == SENTENCE_ID
    groups = {
        "right_id": first & (target != refusal),
        "right_refusal": first & (target == refusal),
        "right_copy": kind == COPIED,
        "right_label": kind == LABEL,
    }
    return {name: float(right[chosen].mean()) for name, chosen in groups.items() if chosen.any()}
