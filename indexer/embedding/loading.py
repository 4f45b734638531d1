"""Loads an embedding model's parts, and refuses what would not give its makers' vectors."""

from dataclasses import dataclass
from pathlib import Path

import torch
from tokenizers import Tokenizer

from indexer.domain import EmbedderSettings
from indexer.embedding.loaded import Parts, copied
from indexer.embedding.plain import open_plain
from indexer.embedding.weights import PACKAGED, family_of, identity, locate
from indexer.errors import BadInput

DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16}
_CPU_FLAGS = frozenset({"avx512_bf16", "amx_bf16"})
_OFFERED = {
    "torch": ("fp32", "bf16"),
    "onnx": ("fp32", "int8"),
    "openvino": ("fp32", "bf16", "int8"),
}
# Of a repository on the hub: what other libraries read. The weights are taken as safetensors.
_UNUSED = ["*.h5", "*.msgpack", "*.onnx", "*.ot", "onnx/*", "openvino/*", "pytorch_model.bin"]


@dataclass(frozen=True, slots=True)
class Loaded:
    """A model's parts as they are used here.

    `tokens` cuts a text to what the model reads, `counter` never; neither pads, so that both may
    be used from several threads. `identity` is of the settings and the files.
    """

    parts: Parts
    tokens: Tokenizer
    counter: Tokenizer
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
    parts = _open(name, folder, device, DTYPES[dtype])
    family = family_of(name)
    pooling = parts.pooling.replace("+dense", "")
    if family.pooling and pooling != family.pooling:
        raise BadInput(
            f"The embedding model {name!r} pools by {pooling or 'nothing'}, but models of this name"
            f" need {family.pooling}",
            "Use a copy that holds the files of sentence-transformers (modules.json, 1_Pooling)",
        )
    return Loaded(
        parts=parts,
        tokens=copied(parts.tokenizer, parts.limit),
        counter=copied(parts.tokenizer, None),
        query_prefix=family.query_prefix or _stored(parts, "query"),
        passage_prefix=family.passage_prefix or _stored(parts, "document", "passage"),
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
    # Imported here: a model that lies here needs none of it.
    from huggingface_hub import snapshot_download

    try:
        # Fetched as a whole: file by file, a machine without network would wait a minute for each.
        folder = snapshot_download(place, revision=settings.revision, ignore_patterns=_UNUSED)
    except (OSError, ValueError) as error:
        raise _not_loaded(settings.name, error) from error
    return folder, Path(folder).name


def _open(name: str, folder: str, device: str, dtype: torch.dtype) -> Parts:
    plain = open_plain(Path(folder), dtype) if device == "cpu" else None
    if plain is not None:
        return plain
    # Imported here: it takes long, and most models need none of it.
    from indexer.embedding.whole import open_whole

    try:
        return open_whole(name, folder, device, dtype)
    except (OSError, ValueError) as error:
        raise _not_loaded(name, error) from error


def _not_loaded(name: str, error: Exception) -> BadInput:
    return BadInput(
        f"The embedding model {name!r} cannot be loaded: {str(error).splitlines()[0]}",
        f"Give `embedder.name` a folder that holds it, a name that the model hub has, or"
        f" {PACKAGED!r}, which comes with this installation",
    )


def _stored(parts: Parts, *names: str) -> str:
    stored = (parts.prompts.get(name) for name in names)
    return next((prompt for prompt in stored if prompt), "")
