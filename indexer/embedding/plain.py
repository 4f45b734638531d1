"""A plain BERT of sentence-transformers (MiniLM, bge, E5), read without that library.

Plain is what every file of the folder says to be usual; of anything else `open_plain` gives None,
and the library reads it. The vectors are the same bits either way.
"""

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from tokenizers import Tokenizer
from torch.nn import functional

from indexer.embedding.bert import Bert, Shape, weight_names
from indexer.embedding.loaded import Parts

_MODULES = ("Transformer", "Pooling", "Normalize")
_WEIGHTS = "model.safetensors"
_UNUSED = "embeddings.position_ids"  # older files hold it
_USUAL = {
    "architectures": ["BertModel"],
    "model_type": "bert",
    "hidden_act": "gelu",
    "position_embedding_type": "absolute",
    "is_decoder": False,
    "is_encoder_decoder": False,
    "add_cross_attention": False,
    "chunk_size_feed_forward": 0,
}
_CUSTOM = ("auto_map", "quantization_config", "pruned_heads", "embedding_size")
_READ_SO = {
    "do_lower_case": False,  # the tokenizer's own setting is another one
    "transformer_task": "feature-extraction",
    "modality_config": {"text": {"method": "forward", "method_output_name": "last_hidden_state"}},
    "module_output_name": "token_embeddings",
}
_POOLINGS = {"pooling_mode_mean_tokens": "mean", "pooling_mode_cls_token": "cls"}
_POOLED = "sentence_embedding"
# Read from tokenizer.json as they stand, and made by transformers of the same vocabulary.
_AS_STORED = ("PreTrainedTokenizerFast", "TokenizersBackend")
_WORD_PIECES = ("BertTokenizer", "BertTokenizerFast")


def open_plain(folder: Path, dtype: torch.dtype) -> Parts | None:
    """For the processor; None where something is not plain, or is missing."""
    config = _object(folder / "config.json")
    reading = _object(folder / "sentence_bert_config.json")
    pooling, tokenizer = _pooling(folder), _tokenizer(folder)
    if not pooling or tokenizer is None or not _is_plain(config, reading):
        return None
    weights = _weights(folder / _WEIGHTS, config["num_hidden_layers"], dtype)
    if weights is None:
        return None
    described = _object(folder / "tokenizer_config.json")
    longest = min(config["max_position_embeddings"], int(described.get("model_max_length", 512)))
    shape = Shape(
        config["num_hidden_layers"], config["num_attention_heads"], config["layer_norm_eps"]
    )
    return Parts(
        network=Bert(shape, weights),
        pool=_mean if pooling == "mean" else _first,
        weights={f"0.model.{name}": weight for name, weight in weights.items()},
        tokenizer=tokenizer,
        padding=tokenizer.token_to_id(_content(described.get("pad_token"))) or 0,
        limit=int(reading.get("max_seq_length") or longest),
        pooling=pooling,
        prompts=_object(folder / "config_sentence_transformers.json").get("prompts") or {},
        whole=lambda: _whole(str(folder)),
    )


def _json(path: Path) -> Any:
    """None where there is no such file, or no JSON in it."""
    try:
        return json.loads(path.read_bytes())
    except (OSError, ValueError):
        return None


def _object(path: Path) -> dict[str, Any]:
    found = _json(path)
    return found if isinstance(found, dict) else {}


def _is_plain(config: dict[str, Any], reading: dict[str, Any]) -> bool:
    numbers = ("num_hidden_layers", "num_attention_heads", "max_position_embeddings")
    return (
        all(config.get(key, value) == value for key, value in _USUAL.items())
        and config.get("model_type") == "bert"
        and all(isinstance(config.get(key), int) for key in numbers)
        and isinstance(config.get("layer_norm_eps"), float)
        and not any(config.get(key) for key in _CUSTOM)
        and all(_READ_SO.get(key) == reading[key] for key in reading.keys() - {"max_seq_length"})
    )


def _pooling(folder: Path) -> str:
    """How, if the modules are those of `_MODULES` with the usual settings, else ""."""
    modules = _json(folder / "modules.json") or []
    if [str(module["type"]).rpartition(".")[2] for module in modules] != list(_MODULES):
        return ""
    [own, pooling, normalising] = [folder / str(module["path"]) for module in modules]
    found = _object(pooling / "config.json")
    of_what = set(_object(normalising / "config.json").values()) | {_POOLED}
    if own != folder or of_what != {_POOLED} or not found.get("include_prompt", True):
        return ""
    if "pooling_mode" in found:
        return found["pooling_mode"] if found["pooling_mode"] in _POOLINGS.values() else ""
    chosen = [key for key, value in found.items() if key.startswith("pooling_mode_") and value]
    return _POOLINGS.get(chosen[0], "") if len(chosen) == 1 else ""


def _weights(file: Path, layers: int, dtype: torch.dtype) -> dict[str, torch.Tensor] | None:
    if not file.is_file():
        return None
    found = load_file(file)
    found.pop(_UNUSED, None)
    if found.keys() != weight_names(layers):
        return None
    return {name: found[name].to(dtype) for name in sorted(found)}


def _tokenizer(folder: Path) -> Tokenizer | None:
    """None unless transformers would use tokenizer.json as it stands."""
    file, described = folder / "tokenizer.json", _object(folder / "tokenizer_config.json")
    if not file.is_file():
        return None
    stored = _object(file)
    kind, known = described.get("tokenizer_class"), _added(stored.get("added_tokens", []))
    added = _added(described.get("added_tokens_decoder", {}).values())
    if added - known or (kind not in _AS_STORED and not _is_word_piece(kind, described, stored)):
        return None
    tokenizer: Tokenizer = Tokenizer.from_file(str(file))
    return tokenizer


def _added(tokens: Iterable[dict[str, Any]]) -> set[tuple[Any, ...]]:
    flags = ("content", "special", "lstrip", "rstrip", "normalized", "single_word")
    return {tuple(token.get(flag) for flag in flags) for token in tokens}


def _is_word_piece(kind: object, described: dict[str, Any], stored: dict[str, Any]) -> bool:
    """Whether transformers' BertTokenizer, made of the vocabulary, would be what is stored."""
    normalizer = stored.get("normalizer") or {}
    said = {
        "lowercase": described.get("do_lower_case", True),
        "strip_accents": described.get("strip_accents"),
        "handle_chinese_chars": described.get("tokenize_chinese_chars", True),
    }
    return (
        kind in _WORD_PIECES
        and (stored.get("model") or {}).get("type") == "WordPiece"
        and stored.get("pre_tokenizer") == {"type": "BertPreTokenizer"}
        and normalizer == {"type": "BertNormalizer", "clean_text": True, **said}
    )


def _content(token: Any) -> str:
    """Of a token as a tokenizer's settings name it."""
    return str(token["content"] if isinstance(token, dict) else token)


def _mean(tokens: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    shown = mask.unsqueeze(-1).to(tokens.dtype)
    summed = (tokens * shown).sum(dim=1)
    return functional.normalize(summed / torch.clamp(shown.sum(dim=1), min=1e-9), dim=-1)


def _first(tokens: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    """Texts are padded at their end, so that the first token is the first of all."""
    return functional.normalize(tokens[:, 0], dim=-1)


def _whole(folder: str) -> torch.nn.Module:
    # Imported here: only converting needs it.
    from indexer.embedding.whole import whole_network

    return whole_network(folder)
