"""A base with an adapter put into its weights, file by file, in the base's own type; no torch.

Weights that nothing changes are copied bit by bit.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, Final

from adapters.base import BaseProfile
from adapters.errors import AdapterRefused, BaseRefused
from adapters.merging.deltas import Delta, module_of
from adapters.tensors import (
    Floats,
    TensorInfo,
    encoded,
    read_bytes,
    read_floats,
    read_header,
    write_tensors,
)
from indexer.settings import store_errors

Step = Callable[[int, int], None]
_INDEX: Final = "model.safetensors.index.json"
_HEAD, _EMBEDDING = "lm_head", "model.embed_tokens"
_LEFT_OUT: Final = ("*.safetensors", "*.bin", "*.pt", "*.pth", "*.gguf", "*.h5", "*.msgpack")


def write_merged(
    folder: Path, base: BaseProfile, out: Path, step: Step = lambda done, total: None
) -> None:
    """Write the whole base into the folder `out` with W + scale B A for each changed W.

    BaseRefused for packed weights; AdapterRefused for a module that is no matrix of the base.
    """
    config = json.loads((base.folder / "config.json").read_text("utf-8"))
    if "quantization_config" in config:
        raise BaseRefused(
            f"The weights of {base.name} are packed, so nothing can be added to them",
            "Name the base in full precision by DSLM_BASE",
        )
    delta = Delta.open(folder)
    changes = {f"{module_of(stem)}.weight": stem for stem in delta.pairs}
    files = sorted(base.folder.glob("*.safetensors"))
    own = {name for file in files for name in read_header(file)}
    untied = _untied(changes, own)
    missing = sorted(set(changes) - own - untied.keys())
    if missing:
        raise AdapterRefused(
            f"The base has no matrix {missing[0]} to add to", "Export the adapter alone"
        )
    with store_errors(out):
        _copy_rest(base.folder, out)
        for done, file in enumerate(files, 1):
            entries = _entries(file, delta, changes, untied)
            write_tensors(out / file.name, entries)
            step(done, len(files))
        if untied:
            _describe_untied(out, config, untied)


def _untied(changes: Mapping[str, str], own: set[str]) -> dict[str, str]:
    """A head that shares the embedding's matrix gets its own where only one of both changes."""
    head, embedding = f"{_HEAD}.weight", f"{_EMBEDDING}.weight"
    is_tied = head not in own and embedding in own
    return {head: embedding} if is_tied and {head, embedding} & set(changes) else {}


def _entries(
    file: Path, delta: Delta, changes: Mapping[str, str], untied: Mapping[str, str]
) -> Iterator[tuple[str, TensorInfo, Callable[[], bytes]]]:
    for name, info in read_header(file).items():
        yield name, info, _content(file, info, delta, changes.get(name))
        for copy, of in untied.items():
            if of == name:
                yield copy, info, _content(file, info, delta, changes.get(copy))


def _content(file: Path, info: TensorInfo, delta: Delta, stem: str | None) -> Callable[[], bytes]:
    """Read when it is written, so that one matrix at a time is in memory."""

    def read() -> bytes:
        if stem is None:
            return read_bytes(file, info)
        if not info.readable or info.dtype == "F64":
            raise BaseRefused(f"{file.name} holds {info.dtype}", "Use a base in bfloat16")
        return encoded(read_floats(file, info) + _change(delta, stem), info.dtype)

    return read


def _change(delta: Delta, stem: str) -> Floats:
    factors = delta.factors(stem)
    assert factors
    change = factors.delta()
    return change.T if stem.endswith("embedding_") else change


def _copy_rest(source: Path, out: Path) -> None:
    """Configuration, tokenizer, template: everything but weights and what is hidden."""
    for file in sorted(source.iterdir()):
        if file.is_file() and not file.name.startswith("."):
            if not any(file.match(pattern) for pattern in _LEFT_OUT):
                shutil.copyfile(file, out / file.name)


def _describe_untied(out: Path, config: dict[str, Any], untied: Mapping[str, str]) -> None:
    config = {**config, "tie_word_embeddings": False}
    (out / "config.json").write_text(json.dumps(config, indent=2) + "\n", "utf-8")
    if (out / _INDEX).is_file():
        index = json.loads((out / _INDEX).read_text("utf-8"))
        for copy, of in untied.items():
            index["weight_map"][copy] = index["weight_map"][of]
        (out / _INDEX).write_text(json.dumps(index, indent=2) + "\n", "utf-8")
