"""How much memory a base takes in an engine: formulas, and what the base's own files say.

Weights and LoRA slots are exact; what an engine needs to compute is an estimate from above.
"""

import json
import math
import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from adapters.base import BaseProfile, Shape
from adapters.errors import BaseRefused
from adapters.tensors import read_header

GIB = 2**30
NO_LORA = ("lm_head", "embed_tokens", "wte", "wpe")
LARGE_GPU = 70 * GIB
FLOATS = ("F64", "F32", "F16", "BF16")
# CUDA's context, its graphs, and libraries: seldom more.
CUDA_BYTES = GIB
# On a CPU host vLLM is three processes, each with torch: 0.8 + 0.8 + 0.9 GB seen.
HOST_BYTES = 5 * GIB // 2


@dataclass(frozen=True, slots=True)
class Numbers:
    """What counts of a base: `matrices` are shapes (out, in) that a LoRA can be attached to.

    `kv_width`: numbers that each layer keeps of a token.
    """

    weights: int
    layers: int
    hidden: int
    wide: int
    vocabulary: int
    kv_width: int
    matrices: tuple[Shape, ...]


def slot_bytes(matrices: tuple[Shape, ...], rank: int, size: int = 2) -> int:
    """One LoRA slot: size * rank * sum(in + out)."""
    return size * rank * sum(rows + columns for rows, columns in matrices)


def token_bytes(numbers: Numbers, size: float = 2) -> int:
    """KV cache of one token: layers * width * size, where the width is 2 * KV heads * head size."""
    return math.ceil(numbers.layers * numbers.kv_width * size)


def work_bytes(numbers: Numbers, batched: int, answers: int) -> int:
    """Activations of one batch and logits of every answer in it, as an engine tries at its start.

    Of a token some eight rows of the hidden size and three of the feed-forward's are alive at once.
    """
    activations = batched * (8 * numbers.hidden + 3 * numbers.wide) * 2
    return activations + answers * numbers.vocabulary * 4 * 2


def read_numbers(profile: BaseProfile, float_size: int = 2) -> Numbers:
    """From config.json and the headers of the weights; `float_size`: of what is stored as float."""
    config = json.loads((profile.folder / "config.json").read_text(encoding="utf-8"))
    text: Mapping[str, Any] = config.get("text_config", config)
    heads = int(text.get("num_attention_heads") or text.get("n_head") or 1)
    size = int(text.get("head_dim") or profile.hidden_size // heads)
    width = 2 * int(text.get("num_key_value_heads") or heads) * size
    if text.get("kv_lora_rank"):  # latent attention (DeepSeek-V2, arXiv:2405.04434)
        width = int(text["kv_lora_rank"]) + int(text.get("qk_rope_head_dim") or 0)
    return Numbers(
        weights=weight_bytes(profile.folder, float_size),
        layers=profile.layers,
        hidden=profile.hidden_size,
        wide=int(text.get("intermediate_size") or 4 * profile.hidden_size),
        vocabulary=int(text.get("vocab_size") or 0),
        kv_width=width,
        matrices=tuple(
            shape
            for name, shape in profile.modules.items()
            if name.rpartition(".")[2] not in NO_LORA
        ),
    )


def weight_bytes(folder: Path, float_size: int) -> int:
    """All tensors of a folder of safetensors; what is packed stays as it is stored.

    BaseRefused if a file is missing that the folder's index names.
    """
    index = folder / "model.safetensors.index.json"
    if index.is_file():  # a folder may hold the same weights in another layout besides
        named = json.loads(index.read_text(encoding="utf-8"))["weight_map"].values()
        files = sorted({folder / name for name in named})
    else:
        files = sorted(folder.glob("*.safetensors"))
    total = 0
    for file in files:
        if not file.is_file():
            message = f"The weights in {folder} are incomplete: {file.name} is missing"
            raise BaseRefused(message, "Complete the download")
        for info in read_header(file).values():
            count = math.prod(info.shape)
            total += count * float_size if info.dtype in FLOATS else info.end - info.start
    return total


@dataclass(frozen=True, slots=True)
class Options:
    """What a child's own vLLM options say about memory; None where they say nothing."""

    answers: int | None = None
    context: int | None = None
    batched: int | None = None
    share: float | None = None
    gpus: int = 1
    kv_size: float | None = None
    dtype: str | None = None


def read_options(line: str) -> Options:
    """Of a line of vLLM options those that count here; vLLM itself refuses what is wrong."""
    found: dict[str, str] = {}
    words = shlex.split(line)
    for word, following in zip(words, [*words[1:], ""], strict=False):
        name, _, value = word.partition("=")
        name = "-" * (len(name) - len(name.lstrip("-"))) + name.lstrip("-").replace("_", "-")
        found[{"-tp": "--tensor-parallel-size"}.get(name, name)] = value or following
    return Options(
        answers=_whole(found.get("--max-num-seqs")),
        context=_whole(found.get("--max-model-len")),
        batched=_whole(found.get("--max-num-batched-tokens")),
        share=_share(found.get("--gpu-memory-utilization")),
        gpus=_whole(found.get("--tensor-parallel-size")) or 1,
        kv_size=1.0 if found.get("--kv-cache-dtype", "").startswith("fp8") else None,
        dtype=found.get("--dtype"),
    )


def _share(value: str | None) -> float | None:
    try:
        return float(value) if value else None
    except ValueError:
        return None


def _whole(value: str | None) -> int | None:
    """vLLM's own way of writing numbers: 1k is 1,000, 1K is 1,024; None for what is no number."""
    units = {"k": 10**3, "m": 10**6, "K": 2**10, "M": 2**20}
    if not value:
        return None
    factor = units.get(value[-1], 1)
    digits = value[:-1] if factor > 1 else value
    try:
        return int(float(digits) * factor)
    except ValueError:
        return None
