"""BERT's encoder (Devlin et al., arXiv:1810.04805) in torch alone, bit for bit as transformers.

Importing transformers' BERT takes five seconds of processor time, torch one. The operations and
their order are those of `transformers.models.bert.modeling_bert` with its `sdpa` attention.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch.nn import functional

_LAYER = (
    "attention.self.query",
    "attention.self.key",
    "attention.self.value",
    "attention.output.dense",
    "attention.output.LayerNorm",
    "intermediate.dense",
    "output.dense",
    "output.LayerNorm",
)
_TABLES = ("word_embeddings", "position_embeddings", "token_type_embeddings")


@dataclass(frozen=True, slots=True)
class Shape:
    """What a folder's config.json says of the network, beside its weights."""

    layers: int
    heads: int
    epsilon: float


def weight_names(layers: int) -> set[str]:
    """Those of a whole BertModel, its unused pooler among them."""
    parts = [f"encoder.layer.{number}.{part}" for number in range(layers) for part in _LAYER]
    parts += ["embeddings.LayerNorm", "pooler.dense"]
    names = {f"{part}.{kind}" for part in parts for kind in ("weight", "bias")}
    return names | {f"embeddings.{table}.weight" for table in _TABLES}


class Bert:
    """Token ids and mask [n, t] to a vector per token [n, t, hidden]; for any number of threads."""

    def __init__(self, shape: Shape, weights: Mapping[str, torch.Tensor]) -> None:
        self._shape = shape
        self._weights = weights
        self._first_type = weights["embeddings.token_type_embeddings.weight"][0]

    def __call__(self, ids: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        texts, tokens = ids.shape
        seen = None  # a mask that hides nothing would only choose a slower kernel
        if not bool(mask.all()):
            seen = mask[:, None, None, :].bool().expand(texts, 1, tokens, tokens)
        words = functional.embedding(ids, self._weights["embeddings.word_embeddings.weight"])
        places = self._weights["embeddings.position_embeddings.weight"][:tokens]
        states = self._normal(words + self._first_type + places, "embeddings.LayerNorm")
        for number in range(self._shape.layers):
            states = self._layer(states, f"encoder.layer.{number}", seen)
        return states

    def _layer(self, states: torch.Tensor, name: str, seen: torch.Tensor | None) -> torch.Tensor:
        attended = self._linear(
            self._attention(states, f"{name}.attention.self", seen),
            f"{name}.attention.output.dense",
        )
        states = self._normal(attended + states, f"{name}.attention.output.LayerNorm")
        wide = functional.gelu(self._linear(states, f"{name}.intermediate.dense"))
        narrow = self._linear(wide, f"{name}.output.dense")
        return self._normal(narrow + states, f"{name}.output.LayerNorm")

    def _attention(
        self, states: torch.Tensor, name: str, seen: torch.Tensor | None
    ) -> torch.Tensor:
        texts, tokens, _ = states.shape
        query, key, value = (
            self._linear(states, f"{name}.{part}")
            .view(texts, tokens, self._shape.heads, -1)
            .transpose(1, 2)
            for part in ("query", "key", "value")
        )
        found = functional.scaled_dot_product_attention(query, key, value, attn_mask=seen)
        return found.transpose(1, 2).reshape(texts, tokens, -1)

    def _linear(self, states: torch.Tensor, name: str) -> torch.Tensor:
        weight, bias = self._weights[f"{name}.weight"], self._weights[f"{name}.bias"]
        return functional.linear(states, weight, bias)

    def _normal(self, states: torch.Tensor, name: str) -> torch.Tensor:
        weight, bias = self._weights[f"{name}.weight"], self._weights[f"{name}.bias"]
        return functional.layer_norm(states, weight.shape, weight, bias, self._shape.epsilon)
