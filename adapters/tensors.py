"""Safetensors without torch: headers, and values as float32 (numpy has no bfloat16).

File layout: 8 bytes little-endian header length, a JSON header, then the values.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, TypeAlias

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open

_READ_AS: Final[Mapping[str, np.dtype[Any]]] = {
    "F64": np.dtype("<f8"),
    "F32": np.dtype("<f4"),
    "F16": np.dtype("<f2"),
    "BF16": np.dtype("<u2"),
}

Floats: TypeAlias = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class TensorInfo:
    """One tensor of a file: `[start, end)` are byte offsets into the file."""

    dtype: str
    shape: tuple[int, ...]
    start: int
    end: int

    @property
    def readable(self) -> bool:
        return self.dtype in _READ_AS


def read_header(path: Path) -> dict[str, TensorInfo]:
    """Read what a safetensors file holds; ValueError if it is not one or is cut short.

    The library checks it first: header, offsets, and that nothing overlaps or is left over.
    """
    if not path.is_file():
        raise ValueError(f"{path} is no file")
    try:
        with safe_open(path, framework="numpy"), path.open("rb") as file:
            length = int.from_bytes(file.read(8), "little")
            raw = file.read(length)
    except SafetensorError as error:
        raise ValueError(f"{path} is not a safetensors file ({error})") from error
    try:
        entries: dict[str, Any] = json.loads(raw)
        entries.pop("__metadata__", None)
        infos = {name: _info(entry, 8 + length) for name, entry in entries.items()}
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"{path} is not a safetensors file") from error
    return infos


def _info(entry: dict[str, Any], offset: int) -> TensorInfo:
    start, end = entry["data_offsets"]
    shape = tuple(int(size) for size in entry["shape"])
    info = TensorInfo(str(entry["dtype"]), shape, offset + start, offset + end)
    if info.readable and _READ_AS[info.dtype].itemsize * math.prod(shape) != end - start:
        raise ValueError("a tensor's shape and size differ")
    if min(start, *shape) < 0:
        raise ValueError("a negative size")
    return info


def read_floats(path: Path, info: TensorInfo) -> Floats:
    """Read one readable tensor as float32."""
    values = np.fromfile(
        path,
        dtype=_READ_AS[info.dtype],
        count=math.prod(info.shape),
        offset=info.start,
    )
    if info.dtype == "BF16":
        values = (values.astype(np.uint32) << 16).view(np.float32)
    return values.astype(np.float32).reshape(info.shape)
