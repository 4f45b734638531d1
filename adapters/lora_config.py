"""What stands in an adapter's `adapter_config.json`, read strictly: vLLM takes it at its word."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Annotated, Any, Final, Self, TypeVar

import regex
from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    StrictBool,
    StrictFloat,
    StrictInt,
    StrictStr,
    ValidationError,
)

from adapters.errors import AdapterRefused
from adapters.manifest import CONFIG_FILE
from adapters.tensors import distinct

_MOST_BYTES: Final = 1_000_000
_PATTERN_SECONDS: Final = 0.5

Rank = Annotated[StrictInt, Field(ge=1)]
Alpha = Annotated[StrictInt | StrictFloat, Field(gt=0, lt=1e38, allow_inf_nan=False)]
Value = TypeVar("Value")
Names = StrictStr | list[StrictStr] | None


class LoraConfig(BaseModel):
    """The fields that decide how an adapter is applied; others are kept as they are."""

    model_config = ConfigDict(frozen=True, extra="allow")

    peft_type: StrictStr = "LORA"
    task_type: StrictStr | None = None
    base_model_name_or_path: StrictStr | None = None
    r: Rank
    lora_alpha: Alpha
    use_rslora: StrictBool = False
    target_modules: Names = None
    exclude_modules: Names = None
    layers_to_transform: StrictInt | list[StrictInt] | None = None
    rank_pattern: dict[str, Rank] | None = None
    alpha_pattern: dict[str, Alpha] | None = None
    bias: StrictStr = "none"
    init_lora_weights: Any = True

    @classmethod
    def read(cls, folder: Path) -> Self:
        """AdapterRefused names the field that is wrong."""
        path, content = folder / CONFIG_FILE, read_config(folder)
        try:
            config = cls.model_validate_json(content)
            json.loads(content, object_pairs_hook=distinct)
        except ValidationError as error:
            raise _refusal(path, error) from error
        except ValueError as error:
            raise AdapterRefused(f"{path}: {error}", "Save the adapter again") from error
        return config

    def rank_of(self, module: str) -> int:
        """The module's rank by PEFT's rule: the first pattern that matches its end, else `r`."""
        return self._by_pattern(self.rank_pattern, module, self.r)

    def scale_of(self, module: str) -> float:
        """What B @ A is multiplied by: alpha / r, or alpha / sqrt(r) for rsLoRA (2312.03732)."""
        alpha = self._by_pattern(self.alpha_pattern, module, self.lora_alpha)
        rank = self.rank_of(module)
        return alpha / (math.sqrt(rank) if self.use_rslora else rank)

    def highest_rank(self) -> int:
        """Of all modules."""
        return max([self.r, *(self.rank_pattern or {}).values()])

    def is_target(self, module: str) -> bool:
        """Do `target_modules` name this module? "all-linear" names none in particular."""
        targets = self.target_modules or []
        if isinstance(targets, str):
            return targets != "all-linear" and matches(targets, module)
        return any(module == target or module.endswith(f".{target}") for target in targets)

    @staticmethod
    def _by_pattern(patterns: dict[str, Value] | None, module: str, other: Value) -> Value:
        named = (patterns or {}).items()
        return next((v for key, v in named if matches(rf"(.*\.)?({key})", module)), other)


def read_config(folder: Path) -> bytes:
    """The file of a PEFT folder, never more than is wanted; AdapterRefused where it is none."""
    path = folder / CONFIG_FILE
    if not path.is_file():
        raise AdapterRefused(
            f"There is no {path}",
            f"Name a PEFT folder with {CONFIG_FILE} and adapter_model.safetensors",
        )
    try:
        with path.open("rb") as file:
            content = file.read(_MOST_BYTES + 1)
    except OSError as error:
        raise AdapterRefused(
            f"{path} cannot be read ({error})", "Save the adapter again"
        ) from error
    if len(content) > _MOST_BYTES:
        raise AdapterRefused(f"{path} is larger than a megabyte", "Save the adapter again")
    return content


def matches(pattern: str, module: str) -> bool:
    """Does a pattern of the configuration name this module, whole? Never for long."""
    try:
        return regex.fullmatch(pattern, module, timeout=_PATTERN_SECONDS) is not None
    except (regex.error, TimeoutError) as error:
        said = str(error) or "takes too long"
        raise AdapterRefused(
            f"{pattern!r} is no pattern ({said})", f"Correct {CONFIG_FILE}"
        ) from error


def _refusal(path: Path, error: ValidationError) -> AdapterRefused:
    first = error.errors()[0]
    where = ".".join(str(part) for part in first["loc"]) or "the file"
    given = "" if first["type"] in ("missing", "json_invalid") else f", not {first['input']!r:.80}"
    said = first["msg"].removeprefix("Input ")
    return AdapterRefused(
        f"{path}: {where}: {said}{given}", "Write what it was trained with, or save it again"
    )
