"""Bases by their sizes: from a config.json, or by name from what their makers published.

Parameters are counted as the Llama layout has them, which Llama, Mistral, Qwen2 and Qwen3 share
(transformers, `models/llama/modeling_llama.py` and its kin).
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Self

from adapters.base import Shape
from adapters.errors import BaseRefused


@dataclass(frozen=True, slots=True)
class BaseShape:
    """What a config.json says of sizes. `biased`: query, key and value have a bias (Qwen2);
    `normed`: queries and keys have a norm for each head (Qwen3).
    """

    hidden: int
    wide: int
    layers: int
    heads: int
    kv_heads: int
    head: int
    vocabulary: int
    context: int
    tied: bool = False
    biased: bool = False
    normed: bool = False

    @classmethod
    def of(cls, config: Mapping[str, Any], where: Path) -> Self:
        """BaseRefused for a config whose parameters cannot be counted from it."""
        text: Mapping[str, Any] = config.get("text_config", config)
        if any("expert" in key for key in text) or text.get("kv_lora_rank"):
            raise BaseRefused(
                f"{where} is of a mixture of experts or has latent attention",
                "Name a folder that holds its weights too: their headers are read",
            )
        try:
            heads, hidden = int(text["num_attention_heads"]), int(text["hidden_size"])
            kind = str(text.get("model_type", ""))
            return cls(
                hidden=hidden,
                wide=int(text["intermediate_size"]),
                layers=int(text["num_hidden_layers"]),
                heads=heads,
                kv_heads=int(text.get("num_key_value_heads") or heads),
                head=int(text.get("head_dim") or hidden // heads),
                vocabulary=int(text["vocab_size"]),
                context=int(text["max_position_embeddings"]),
                tied=bool(config.get("tie_word_embeddings", text.get("tie_word_embeddings"))),
                biased=bool(text.get("attention_bias")) or kind == "qwen2",
                normed=kind == "qwen3",
            )
        except (KeyError, TypeError, ValueError) as error:
            remedy = "Use the config.json of a causal language model"
            raise BaseRefused(f"{where} says no size of {error}", remedy) from error

    def matrices(self) -> tuple[Shape, ...]:
        """Of all layers, as (out, in): what a LoRA can be attached to."""
        queries, keys = self.heads * self.head, self.kv_heads * self.head
        attention = ((queries, self.hidden), (keys, self.hidden), (keys, self.hidden))
        rest = ((self.hidden, queries), *((self.wide, self.hidden),) * 2, (self.hidden, self.wide))
        return (*attention, *rest) * self.layers

    def parameters(self) -> int:
        """Matrices, embeddings, head, norms and biases."""
        matrices = sum(rows * columns for rows, columns in self.matrices())
        embeddings = self.vocabulary * self.hidden * (1 if self.tied else 2)
        small = 2 * self.hidden + (2 * self.head if self.normed else 0)
        if self.biased:
            small += (self.heads + 2 * self.kv_heads) * self.head
        return matrices + embeddings + self.layers * small + self.hidden


# From the config.json of each at huggingface.co; the counts of parameters that their pages state
# are what tests compare with.
PUBLISHED: Final[Mapping[str, BaseShape]] = {
    "Qwen/Qwen2.5-0.5B-Instruct": BaseShape(
        896, 4864, 24, 14, 2, 64, 151_936, 32_768, tied=True, biased=True
    ),
    "Qwen/Qwen2.5-7B-Instruct": BaseShape(
        3584, 18_944, 28, 28, 4, 128, 152_064, 32_768, biased=True
    ),
    "mistralai/Mistral-7B-Instruct-v0.3": BaseShape(4096, 14_336, 32, 32, 8, 128, 32_768, 32_768),
    "meta-llama/Llama-3.1-8B-Instruct": BaseShape(4096, 14_336, 32, 32, 8, 128, 128_256, 131_072),
    "Qwen/Qwen3-8B": BaseShape(4096, 12_288, 36, 32, 8, 128, 151_936, 40_960, normed=True),
    "meta-llama/Llama-2-13b-chat-hf": BaseShape(5120, 13_824, 40, 40, 40, 128, 32_000, 4096),
    "Qwen/Qwen2.5-14B-Instruct": BaseShape(
        5120, 13_824, 48, 40, 8, 128, 152_064, 32_768, biased=True
    ),
    "Qwen/Qwen2.5-32B-Instruct": BaseShape(
        5120, 27_648, 64, 40, 8, 128, 152_064, 32_768, biased=True
    ),
    "meta-llama/Llama-3.1-70B-Instruct": BaseShape(8192, 28_672, 80, 64, 8, 128, 128_256, 131_072),
    "Qwen/Qwen2.5-72B-Instruct": BaseShape(
        8192, 29_568, 80, 64, 8, 128, 152_064, 32_768, biased=True
    ),
}
# By size, for a first look.
SHORT: Final[Mapping[str, str]] = {
    "7b": "Qwen/Qwen2.5-7B-Instruct",
    "8b": "meta-llama/Llama-3.1-8B-Instruct",
    "13b": "meta-llama/Llama-2-13b-chat-hf",
    "32b": "Qwen/Qwen2.5-32B-Instruct",
    "70b": "meta-llama/Llama-3.1-70B-Instruct",
}
