"""Loads an embedding model's parts, and refuses what would not give its makers' vectors."""

from dataclasses import dataclass
from pathlib import Path

import torch
from huggingface_hub import snapshot_download
from sentence_transformers import SentenceTransformer
from sentence_transformers.sentence_transformer.modules import Dense, Pooling
from tokenizers import Tokenizer
from transformers import PreTrainedTokenizerFast
from transformers.utils import logging as transformers_logging

from indexer.domain import EmbedderSettings
from indexer.embedding.weights import PACKAGED, Family, family_of, identity, locate
from indexer.errors import BadInput

_DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16}
_CPU_FLAGS = frozenset({"avx512_bf16", "amx_bf16"})
_OFFERED = {
    "torch": ("fp32", "bf16"),
    "onnx": ("fp32", "int8"),
    "openvino": ("fp32", "bf16", "int8"),
}
# Of a repository on the hub: what other libraries read. The weights are taken as safetensors.
_UNUSED = ["*.h5", "*.msgpack", "*.onnx", "*.ot", "onnx/*", "openvino/*", "pytorch_model.bin"]
_LONGEST = 512


@dataclass(frozen=True, slots=True)
class Loaded:
    """`transformer` gives a vector per token; `head` pools them, in float32.

    `tokens` cuts a text to what the model reads, `counter` never; neither pads, so that both may
    be used from several threads. `identity` is of the settings and the files.
    """

    transformer: torch.nn.Module
    head: tuple[torch.nn.Module, ...]
    tokens: Tokenizer
    counter: Tokenizer
    padding: int
    limit: int
    pooling: str
    query_prefix: str
    passage_prefix: str
    revision: str
    identity: str


def choose_dtype(settings: EmbedderSettings, device: str) -> str:
    """`auto`: bf16 where it is multiplied by the hardware, else fp32. BadInput: not offered."""
    offered = _OFFERED[settings.backend]
    if settings.dtype == "auto":
        fast = device != "cpu" or _multiplies_bf16()
        return "bf16" if fast and "bf16" in offered else "fp32"
    if settings.dtype not in offered:
        raise BadInput(
            f"`embedder.dtype` = {settings.dtype!r} is not offered by"
            f" `embedder.backend` = {settings.backend!r}",
            f"Choose one of {', '.join(offered)}, or another backend",
        )
    return settings.dtype


def load(settings: EmbedderSettings, device: str, dtype: str) -> Loaded:
    """BadInput: no such model, no fast tokenizer, or it pools otherwise than its family."""
    name = settings.name
    folder, revision = _fetch(settings)
    encoder = _open(name, folder, device, _DTYPES[dtype])
    transformer, *head = encoder
    for module in head:
        module.float()
    family = family_of(name)
    tokenizer = encoder.tokenizer
    if not isinstance(tokenizer, PreTrainedTokenizerFast):
        raise BadInput(
            f"The embedding model {name!r} has no tokenizer.json", "Use a model that has one"
        )
    limit = int(encoder.max_seq_length or _LONGEST)
    return Loaded(
        transformer=transformer,
        head=tuple(head),
        tokens=_tokenizer(tokenizer, limit),
        counter=_tokenizer(tokenizer, None),
        padding=int(tokenizer.pad_token_id or 0),
        limit=limit,
        pooling=_pooling(name, encoder, family),
        query_prefix=family.query_prefix or _stored_prompt(encoder, "query"),
        passage_prefix=family.passage_prefix or _stored_prompt(encoder, "document", "passage"),
        revision=revision,
        identity=identity(settings),
    )


def _multiplies_bf16() -> bool:
    try:
        flags = Path("/proc/cpuinfo").read_text(encoding="utf-8").split()
    except OSError:
        return False
    return not _CPU_FLAGS.isdisjoint(flags)


def _fetch(settings: EmbedderSettings) -> tuple[str, str]:
    """The folder, and the commit it was taken at if it comes from the hub."""
    place = locate(settings.name)
    if Path(place).is_dir():
        if settings.revision is not None:
            raise BadInput(
                f"`embedder.revision` = {settings.revision!r} is of a model from the hub,"
                f" but {settings.name!r} is a folder here",
                "Remove the revision, or name the model as the hub does",
            )
        return place, ""
    try:
        # Fetched as a whole: file by file, a machine without network would wait a minute for each.
        folder = snapshot_download(place, revision=settings.revision, ignore_patterns=_UNUSED)
    except (OSError, ValueError) as error:
        raise _not_loaded(settings.name, error) from error
    return folder, Path(folder).name


def _open(name: str, folder: str, device: str, dtype: torch.dtype) -> SentenceTransformer:
    transformers_logging.disable_progress_bar()
    try:
        # The format is always given: T5 weights stored as fp16 would be run as fp16 otherwise.
        encoder = SentenceTransformer(
            folder, device=device, model_kwargs={"dtype": dtype}, local_files_only=True
        )
    except (OSError, ValueError) as error:
        raise _not_loaded(name, error) from error
    return encoder.eval()


def _not_loaded(name: str, error: Exception) -> BadInput:
    return BadInput(
        f"The embedding model {name!r} cannot be loaded: {str(error).splitlines()[0]}",
        f"Give `embedder.name` a folder that holds it, a name that the model hub has, or"
        f" {PACKAGED!r}, which comes with this installation",
    )


def _pooling(name: str, encoder: SentenceTransformer, family: Family) -> str:
    """The pooling and the layers after it, in words; BadInput if the family pools otherwise."""
    found = "+".join(str(m.pooling_mode) for m in encoder if isinstance(m, Pooling))
    if family.pooling and found != family.pooling:
        raise BadInput(
            f"The embedding model {name!r} pools by {found or 'nothing'}, but models of this name"
            f" need {family.pooling}",
            "Use a copy that holds the files of sentence-transformers (modules.json, 1_Pooling)",
        )
    return found + "".join("+dense" for module in encoder if isinstance(module, Dense))


def _stored_prompt(encoder: SentenceTransformer, *names: str) -> str:
    stored = (encoder.prompts.get(name) for name in names)
    return next((prompt for prompt in stored if prompt), "")


def _tokenizer(tokenizer: PreTrainedTokenizerFast, limit: int | None) -> Tokenizer:
    copy: Tokenizer = Tokenizer.from_str(tokenizer.backend_tokenizer.to_str())
    copy.no_padding()
    if limit is None:
        copy.no_truncation()
    else:
        copy.enable_truncation(limit)
    return copy
