"""A base of a published shape with random weights, and adapters for it: for speed, not for sense.

What a step of an engine costs depends on the shapes of its weights and not on their values. All
are written as Llama's, whose layout the others share but for norms and biases. The file of weights
is a hole of the right size, which takes no disk; vLLM fills them itself (`--load-format dummy`).
"""

import json
from pathlib import Path
from typing import Any, Final

import numpy as np

from adapters.base import BaseProfile
from adapters.shapes import PUBLISHED, SHORT, BaseShape
from adapters.tensors import TensorInfo, encoded, write_tensors
from eval.bench.word_level import save, word_level
from indexer.errors import BadInput

SHAPES: Final = (*SHORT, *PUBLISHED)
TEMPLATE: Final = "{% for m in messages %}{{ 'w3 ' + m['content'] + ' w4 ' }}{% endfor %}w5 "
_BF16 = 2


def write_base(name: str, folder: Path, layers: int = 0) -> Path:
    """A folder that vLLM and this product take; `layers`: fewer than it has, 0 for all."""
    known = {title.casefold(): title for title in PUBLISHED}
    title = SHORT.get(name.casefold(), known.get(name.casefold(), ""))
    if not title:
        raise BadInput(f"There is no shape {name!r}", f"Known: {', '.join(SHAPES)}")
    shape, folder = PUBLISHED[title], folder / title.rpartition("/")[2]
    folder.mkdir(parents=True)
    count = layers or shape.layers
    _write_json(folder / "config.json", _config(shape, count))
    _write_tokenizer(folder, shape)
    _write_hole(folder / "model.safetensors", shape, count)
    return folder


def write_adapter(base: BaseProfile, folder: Path, rank: int) -> Path:
    """A LoRA of random numbers on every matrix of the layers, in bf16."""
    matrices = {name: shape for name, shape in base.modules.items() if name.endswith("_proj")}
    if not matrices:
        raise BadInput(f"{base.name} names no matrix `..._proj`", "Use a base in Llama's layout")
    folder.mkdir(parents=True)
    draw = np.random.default_rng(0)
    entries: list[Any] = []
    for name, (rows, columns) in matrices.items():
        for half, shape in (("A", (rank, columns)), ("B", (rows, rank))):
            values = 0.02 * draw.standard_normal(shape, dtype=np.float32)
            info = TensorInfo("BF16", shape, 0, _BF16 * values.size)
            key = f"base_model.model.{name}.lora_{half}.weight"
            entries.append((key, info, lambda values=values: encoded(values, "BF16")))
    write_tensors(folder / "adapter_model.safetensors", entries)
    told = {
        "peft_type": "LORA",
        "task_type": "CAUSAL_LM",
        "base_model_name_or_path": str(base.folder),
        "r": rank,
        "lora_alpha": 2 * rank,
        "target_modules": sorted({name.rpartition(".")[2] for name in matrices}),
    }
    _write_json(folder / "adapter_config.json", told)
    return folder


def _config(shape: BaseShape, layers: int) -> dict[str, Any]:
    return {
        "architectures": ["LlamaForCausalLM"],
        "model_type": "llama",
        "attention_bias": shape.biased,
        "hidden_size": shape.hidden,
        "intermediate_size": shape.wide,
        "num_hidden_layers": layers,
        "num_attention_heads": shape.heads,
        "num_key_value_heads": shape.kv_heads,
        "head_dim": shape.head,
        "vocab_size": shape.vocabulary,
        "max_position_embeddings": shape.context,
        "tie_word_embeddings": shape.tied,
        "hidden_act": "silu",
        "rms_norm_eps": 1e-5,
        "torch_dtype": "bfloat16",
        "bos_token_id": 1,
        "eos_token_id": 2,
    }


def _write_tokenizer(folder: Path, shape: BaseShape) -> None:
    from tokenizers import decoders

    made = word_level(("<unk>", "<s>", "</s>"), "<unk>", shape.vocabulary)
    made.decoder = decoders.WordPiece(prefix="##", cleanup=False)
    named = {"unk_token": "<unk>", "bos_token": "<s>", "eos_token": "</s>"}
    save(made, folder, **named, chat_template=TEMPLATE)


def _write_hole(file: Path, shape: BaseShape, layers: int) -> None:
    """A header that names every matrix, and nothing behind it."""
    told: dict[str, Any] = {}
    at = 0
    for name, (rows, columns) in _matrices(shape, layers).items():
        end = at + _BF16 * rows * columns
        told[name] = {"dtype": "BF16", "shape": [rows, columns], "data_offsets": [at, end]}
        at = end
    raw = json.dumps(told).encode()
    raw += b" " * (-len(raw) % 8)
    with file.open("wb") as stream:
        stream.write(len(raw).to_bytes(8, "little") + raw)
        stream.truncate(8 + len(raw) + at)


def _matrices(shape: BaseShape, layers: int) -> dict[str, tuple[int, int]]:
    """By their names in the file."""
    names = [f"self_attn.{part}_proj" for part in ("q", "k", "v", "o")]
    names += [f"mlp.{part}_proj" for part in ("gate", "up", "down")]
    ends = ["model.embed_tokens.weight", *([] if shape.tied else ["lm_head.weight"])]
    found = dict.fromkeys(ends, (shape.vocabulary, shape.hidden))
    for layer in range(layers):
        for name, size in zip(names, shape.matrices(), strict=False):
            found[f"model.layers.{layer}.{name}.weight"] = size
    return found


def _write_json(file: Path, content: dict[str, Any]) -> None:
    file.write_text(json.dumps(content, indent=1), encoding="utf-8")
