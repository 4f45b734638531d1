"""What an adapter and a prompt must know about a base, read from its files without torch.

Does not load weights or render templates; a hub id is resolved to its local folder first.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, Self

from adapters.errors import BaseRefused
from adapters.tensors import read_header

Shape = tuple[int, int]

_HUB_ID = re.compile(r"[\w.-]+/[\w.-]+")
_WANTED: Final = ("*.json", "*.safetensors", "*.jinja", "*.model", "*.txt")
_VOLATILE: Final = ("_name_or_path", "transformers_version", "torch_dtype", "dtype")
_SAMPLES: Final = 64
_SAMPLE_BYTES: Final = 4096


@dataclass(frozen=True, slots=True)
class BaseProfile:
    """One base: `modules` maps a weight's path to its shape (out, in); `context` is in tokens.

    `digest` covers config, tokenizer, chat template and a sample of the weights, so a base that
    was trained further is another base, and the same one in another place is not. `parts` are the
    digests of these, each by itself, to tell what differs.
    """

    name: str
    folder: Path
    digest: str
    layers: int
    hidden_size: int
    context: int
    modules: Mapping[str, Shape]
    parts: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def read(cls, path_or_hub_id: str | Path) -> Self:
        """Profile a folder or a hub id; BaseRefused names what is missing and the remedy."""
        folder = find_base(str(path_or_hub_id))
        config = _read_json(folder / "config.json")
        weights = _weights(folder)
        text = config.get("text_config", config)
        name = folder.name if Path(path_or_hub_id).is_dir() else str(path_or_hub_id)
        content = _content(folder, config, weights)
        return cls(
            name=name,
            folder=folder,
            digest=hashlib.sha256(b"".join(content.values())).hexdigest(),
            parts={name: hashlib.sha256(part).hexdigest()[:12] for name, part in content.items()},
            layers=_number(folder, text, "num_hidden_layers", "n_layer"),
            hidden_size=_number(folder, text, "hidden_size", "n_embd"),
            context=_number(folder, text, "max_position_embeddings", "n_positions"),
            modules=_modules(text, weights, quantised="quantization_config" in config),
        )


def find_base(path_or_hub_id: str) -> Path:
    """Return the folder of a base, downloading a hub id unless it is in the local cache."""
    folder = Path(path_or_hub_id).expanduser()
    if folder.is_dir():
        return folder.resolve()
    if folder.exists() or not _HUB_ID.fullmatch(path_or_hub_id):
        raise BaseRefused(
            f"The base {path_or_hub_id} is not a folder",
            "Name a folder with config.json, tokenizer and safetensors, or a hub id (owner/name)",
        )
    from huggingface_hub import snapshot_download

    try:
        return Path(snapshot_download(path_or_hub_id, allow_patterns=list(_WANTED)))
    except (OSError, ValueError) as error:
        reason = str(error).splitlines()[0]
        raise BaseRefused(
            f"The base {path_or_hub_id} is no folder here and cannot be downloaded ({reason})",
            "Check the name and the network, or download it and name its folder",
        ) from error


def _read_json(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise BaseRefused(
            f"The base {path.parent} has no {path.name}", "Complete the download"
        ) from error
    except ValueError as error:
        raise BaseRefused(
            f"The base's {path} is not valid JSON ({error})", "Download it again"
        ) from error
    if not isinstance(content, dict):
        raise BaseRefused(f"The base's {path} is not a JSON object", "Download it again")
    return content


def _weights(folder: Path) -> list[Path]:
    files = sorted(folder.glob("*.safetensors"))
    if not files:
        raise BaseRefused(
            f"The base {folder} has no *.safetensors",
            "Complete the download; convert pickled weights with save_pretrained()",
        )
    return files


def _number(folder: Path, config: dict[str, Any], *keys: str) -> int:
    for key in keys:
        if isinstance(config.get(key), int):
            return int(config[key])
    raise BaseRefused(
        f"The base {folder} says no {keys[0]} in config.json", "Use a causal language model"
    )


def _chat_template(folder: Path) -> str:
    """The template as transformers would find it: its own file, else in the tokenizer's config."""
    file = folder / "chat_template.jinja"
    if file.is_file():
        return file.read_text(encoding="utf-8")
    for name in ("chat_template.json", "tokenizer_config.json"):
        if (folder / name).is_file() and (found := _read_json(folder / name).get("chat_template")):
            return json.dumps(found, sort_keys=True)
    raise BaseRefused(
        f"The base {folder} has no chat template",
        "Use its instruction-tuned variant, or put a chat_template.jinja beside its tokenizer",
    )


def tool_template(folder: Path) -> str:
    """What renders a request with tools: a template of its own, where a base has one."""
    file = folder / "additional_chat_templates" / "tool_use.jinja"
    return file.read_text(encoding="utf-8") if file.is_file() else _chat_template(folder)


def _tokenizer(folder: Path) -> Path:
    for name in ("tokenizer.json", "tokenizer.model", "vocab.json"):
        if (folder / name).is_file():
            return folder / name
    raise BaseRefused(f"The base {folder} has no tokenizer.json", "Complete the download")


def _content(folder: Path, config: dict[str, Any], weights: list[Path]) -> dict[str, bytes]:
    """What makes a base the one that it is, by the names that people know the parts by."""
    lasting = {key: value for key, value in config.items() if key not in _VOLATILE}
    return {
        "configuration": json.dumps(lasting, sort_keys=True).encode(),
        "tokenizer": hashlib.sha256(_tokenizer(folder).read_bytes()).digest(),
        "chat template": hashlib.sha256(_chat_template(folder).encode()).digest(),
        "weights": b"".join(map(_sample, weights)),
    }


def _sample(file: Path) -> bytes:
    """Digest the size and evenly spread blocks: gigabytes in milliseconds, any training shows."""
    size = file.stat().st_size
    digest = hashlib.sha256(str(size).encode())
    with file.open("rb") as stream:
        for index in range(_SAMPLES):
            stream.seek(index * size // _SAMPLES)
            digest.update(stream.read(_SAMPLE_BYTES))
    return digest.digest()


def _modules(config: dict[str, Any], weights: list[Path], *, quantised: bool) -> dict[str, Shape]:
    """Shapes (out, in) of everything a LoRA could attach to."""
    if quantised:  # packed weights do not have the shape of the matrix they stand for
        return _standard_modules(config)
    found: dict[str, Shape] = {}
    for file in weights:
        try:
            header = read_header(file)
        except ValueError as error:
            raise BaseRefused(f"The base's weights: {error}", "Download them again") from error
        for name, info in header.items():
            if name.endswith(".weight") and len(info.shape) == 2:
                found[name.removesuffix(".weight")] = (info.shape[0], info.shape[1])
    if "lm_head" not in found and "model.embed_tokens" in found:
        found["lm_head"] = found["model.embed_tokens"]
    return found


def _standard_modules(config: dict[str, Any]) -> dict[str, Shape]:
    """The Llama layout from its config, for bases whose weights are packed."""
    hidden, wide = int(config["hidden_size"]), int(config["intermediate_size"])
    heads = int(config["num_attention_heads"])
    size = int(config.get("head_dim") or hidden // heads)
    queries, keys = heads * size, int(config.get("num_key_value_heads") or heads) * size
    shapes = {
        "self_attn.q_proj": (queries, hidden),
        "self_attn.k_proj": (keys, hidden),
        "self_attn.v_proj": (keys, hidden),
        "self_attn.o_proj": (hidden, queries),
        "mlp.gate_proj": (wide, hidden),
        "mlp.up_proj": (wide, hidden),
        "mlp.down_proj": (hidden, wide),
    }
    layers = range(int(config["num_hidden_layers"]))
    return {f"model.layers.{n}.{name}": shape for n in layers for name, shape in shapes.items()}
