"""Bases as a plan of capacity needs them: by name from their published configs, or from a folder.

Nothing is loaded or downloaded. Of a folder with weights their headers are read; of one with a
config.json alone the parameters are counted as the Llama layout has them, which Llama, Mistral,
Qwen2 and Qwen3 share (transformers, `models/llama/modeling_llama.py` and its kin).
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Self

from adapters.base import BaseProfile, Shape
from adapters.errors import BaseRefused
from indexer.errors import BadInput
from service.engines.memory import Numbers, read_numbers

# Of a four-bit weight: in groups of 128 that share a scale of 16 bits and a zero point of 4
# (AWQ, arXiv:2306.00978, as vLLM loads it); embeddings and the head stay in 16 bits.
INT4_BYTES: Final = (4 + (16 + 4) / 128) / 8
BYTES: Final = {"bf16": 2.0, "fp8": 1.0, "int4": INT4_BYTES}


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

    def numbers(self) -> Numbers:
        """With weights of 16 bits."""
        return Numbers(
            weights=2 * self.parameters(),
            layers=self.layers,
            hidden=self.hidden,
            wide=self.wide,
            vocabulary=self.vocabulary,
            kv_width=2 * self.kv_heads * self.head,
            matrices=self.matrices(),
        )


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


@dataclass(frozen=True, slots=True)
class PlannedBase:
    """A base by its numbers; `heads` and `kv_heads` say over how many GPUs it can be split."""

    name: str
    numbers: Numbers
    heads: int
    kv_heads: int
    context: int


def find_shape(asked: str) -> PlannedBase:
    """A name in the table, a size (`8b`), or a folder. BadInput names what is known."""
    name = SHORT.get(asked.lower(), asked)
    known = {title.lower(): title for title in PUBLISHED}
    title = known.get(name.lower())
    if title:
        shape = PUBLISHED[title]
        return PlannedBase(title, shape.numbers(), shape.heads, shape.kv_heads, shape.context)
    folder = Path(asked).expanduser()
    if not (folder / "config.json").is_file():
        raise BadInput(
            f"There is no base {asked}: it is no folder with a config.json and in no table",
            f"Name a folder, a size ({', '.join(SHORT)}), or one of {', '.join(PUBLISHED)}",
        )
    return _read(folder)


def weigh(numbers: Numbers, kind: str) -> int:
    """Bytes of the weights with the matrices of the layers stored as `kind`, from 16 bits each."""
    matrices = sum(rows * columns for rows, columns in numbers.matrices)
    return numbers.weights - 2 * matrices + round(BYTES[kind] * matrices)


def _read(folder: Path) -> PlannedBase:
    path = folder / "config.json"
    try:
        config = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise BaseRefused(f"{path} is not valid JSON ({error})", "Download it again") from error
    if not isinstance(config, dict):
        raise BaseRefused(f"{path} is not a JSON object", "Download it again")
    name = folder.resolve().name
    if any(folder.glob("*.safetensors")):
        profile = BaseProfile.read(folder)
        text = config.get("text_config", config)
        heads = int(text.get("num_attention_heads") or text.get("n_head") or 1)
        kv_heads = 1 if text.get("kv_lora_rank") else int(text.get("num_key_value_heads") or heads)
        return PlannedBase(name, read_numbers(profile), heads, kv_heads, profile.context)
    shape = BaseShape.of(config, path)
    return PlannedBase(name, shape.numbers(), shape.heads, shape.kv_heads, shape.context)
