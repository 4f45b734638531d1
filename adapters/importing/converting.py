"""Adapters as other tools save them, made into what the engine applies: only where that is exact.

What is renamed or dropped is said; what would change an answer is refused by the verification.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import numpy as np

from adapters.base import BaseProfile
from adapters.errors import AdapterRefused
from adapters.lora_config import read_config
from adapters.manifest import CARD_FILE, CONFIG_FILE, WEIGHTS_FILE
from adapters.tensors import TensorInfo, copy_tensors, distinct, read_floats, read_header
from adapters.verify import KEY
from indexer.settings import store_errors

# torch.compile, FSDP, activation checkpointing and data parallelism leave these in names.
_WRAPPERS: Final = ("_orig_mod.", "_fsdp_wrapped_module.", "_checkpoint_wrapped_module.")
_PREFIX: Final = "base_model.model."
_ADAPTER_NAME = re.compile(r"(\.lora_(?:embedding_)?[AB])\.(?!weight$)[\w-]+")
_WHOLE = re.compile(
    r"base_model\.model\.(?P<module>.+?)(?:\.modules_to_save)?(?:\.default)?\.weight"
)


@dataclass(slots=True)
class Conversion:
    """What an adapter becomes: its configuration, its tensors by new names, and what was done."""

    config: dict[str, Any]
    tensors: dict[str, TensorInfo]
    done: list[str] = field(default_factory=list)


def convert(folder: Path, base: BaseProfile, out: Path, *, same_base: bool = False) -> list[str]:
    """Write a converted copy into the folder `out` and say what was done; nothing if nothing is.

    `same_base`: the hub id that the configuration names is a copy of this base.
    """
    made = _read(folder)
    _rename(made, base)
    _drop_equal(made, folder / WEIGHTS_FILE, base)
    _mend_config(made, base, same_base=same_base)
    if made.done:
        with store_errors(out):
            copy_tensors(folder / WEIGHTS_FILE, out / WEIGHTS_FILE, made.tensors)
            (out / CONFIG_FILE).write_text(json.dumps(made.config, indent=2) + "\n", "utf-8")
            if (folder / CARD_FILE).is_file():
                (out / CARD_FILE).write_bytes((folder / CARD_FILE).read_bytes())
    return made.done


def _read(folder: Path) -> Conversion:
    """AdapterRefused for what is no adapter at all; the details are the verification's."""
    path = folder / WEIGHTS_FILE
    if not path.is_file():
        raise AdapterRefused(f"There is no file {path}", _remedy(folder))
    try:
        config = json.loads(read_config(folder), object_pairs_hook=distinct)
        tensors = read_header(path)
    except (ValueError, RecursionError) as error:
        raise AdapterRefused(f"{folder}: {error}", "Save the adapter again") from error
    if not isinstance(config, dict):
        raise AdapterRefused(f"{folder / CONFIG_FILE} is no object", "Save the adapter again")
    return Conversion(config, tensors)


def _remedy(folder: Path) -> str:
    if list(folder.glob("adapter_model.bin")):
        return "Save it as safetensors; pickled weights are never opened"
    inner = sorted(path.parent for path in folder.glob(f"*/{CONFIG_FILE}"))
    return f"Name one of: {', '.join(map(str, inner))}" if inner else "Name a PEFT folder"


def _rename(made: Conversion, base: BaseProfile) -> None:
    """The names that PEFT gives, where other tools left more in them, or less."""
    renamed: dict[str, TensorInfo] = {}
    for key, info in made.tensors.items():
        name = _plain_name(key, base)
        if name in renamed:
            raise AdapterRefused(f"Two tensors would be {name[:200]}", "Save the adapter again")
        renamed[name] = info
    changed = [key for key in made.tensors if key not in renamed]
    if changed:
        made.done.append(f"renamed {len(changed)} tensors, such as {changed[0][:120]}")
        made.tensors = renamed


def _plain_name(key: str, base: BaseProfile) -> str:
    name = key
    for wrapper in _WRAPPERS:
        name = name.replace(wrapper, "")
    name = _ADAPTER_NAME.sub(r"\1", name)
    if name.startswith("module."):
        name = name.removeprefix("module.")
    if not name.startswith(_PREFIX) and ".lora_" in name:
        module = name.partition(".lora_")[0]
        name = _PREFIX + name if module in base.modules else name
    return name if KEY.fullmatch(name) or _WHOLE.fullmatch(name) else key


def _drop_equal(made: Conversion, path: Path, base: BaseProfile) -> None:
    """Whole matrices that were saved along, as for an embedding that got new tokens.

    What equals the base's is dropped; what does not is refused: the engine would ignore it.
    """
    whole = {key: match["module"] for key in made.tensors if (match := _WHOLE.fullmatch(key))}
    whole = {key: module for key, module in whole.items() if not KEY.fullmatch(key)}
    if not whole:
        return
    theirs = _base_tensors(base)
    for key, module in whole.items():
        if not _equal(made.tensors[key], path, theirs, module):
            raise AdapterRefused(
                f"The adapter holds its own {module}, which is not the base's",
                "Train without modules_to_save and without new tokens, or put the adapter into"
                " the base for good and serve that as a base",
            )
        del made.tensors[key]
    names = ", ".join(sorted(set(whole.values())))
    made.done.append(f"dropped {names}: the same as the base's")
    made.config["modules_to_save"] = None


def _base_tensors(base: BaseProfile) -> Mapping[str, tuple[Path, TensorInfo]]:
    found: dict[str, tuple[Path, TensorInfo]] = {}
    for file in sorted(base.folder.glob("*.safetensors")):
        for name, info in read_header(file).items():
            found[name.removesuffix(".weight")] = (file, info)
    if "lm_head" not in found and "model.embed_tokens" in found:
        found["lm_head"] = found["model.embed_tokens"]
    return found


def _equal(
    mine: TensorInfo, path: Path, theirs: Mapping[str, tuple[Path, TensorInfo]], module: str
) -> bool:
    if module not in theirs or not mine.readable:
        return False
    file, info = theirs[module]
    return (
        info.readable
        and info.shape == mine.shape
        and np.array_equal(read_floats(path, mine), read_floats(file, info))
    )


def _mend_config(made: Conversion, base: BaseProfile, *, same_base: bool) -> None:
    rank = made.config.get("r")
    if isinstance(rank, float) and rank.is_integer():
        made.config["r"] = int(rank)
        made.done.append("wrote r as a whole number")
    named = made.config.get("base_model_name_or_path")
    if same_base and named != base.name:
        made.config["base_model_name_or_path"] = base.name
        made.done.append(f"trained on {named}, said to be this base")
