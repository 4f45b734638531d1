"""Bases as a plan of capacity needs them: by name from their published configs, or from a folder.

Nothing is loaded or downloaded. Of a folder with weights their headers are read; of one with a
config.json alone the parameters are counted.
"""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from adapters.base import BaseProfile
from adapters.errors import BaseRefused
from adapters.shapes import PUBLISHED, SHORT, BaseShape
from indexer.errors import BadInput
from service.engines.memory import Numbers, read_numbers

# Of a four-bit weight: in groups of 128 that share a scale of 16 bits and a zero point of 4
# (AWQ, arXiv:2306.00978, as vLLM loads it); embeddings and the head stay in 16 bits.
INT4_BYTES: Final = (4 + (16 + 4) / 128) / 8
BYTES: Final = {"bf16": 2.0, "fp8": 1.0, "int4": INT4_BYTES}


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
        return _planned(title, PUBLISHED[title])
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
    return _planned(name, BaseShape.of(config, path))


def _planned(name: str, shape: BaseShape) -> PlannedBase:
    """With weights of 16 bits."""
    numbers = Numbers(
        weights=2 * shape.parameters(),
        layers=shape.layers,
        hidden=shape.hidden,
        wide=shape.wide,
        vocabulary=shape.vocabulary,
        kv_width=2 * shape.kv_heads * shape.head,
        matrices=shape.matrices(),
    )
    return PlannedBase(name, numbers, shape.heads, shape.kv_heads, shape.context)
