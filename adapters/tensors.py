"""Safetensors without torch: headers, and values as float32 (numpy has no bfloat16).

File layout: 8 bytes little-endian header length, a JSON header, then the values.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterable, Mapping
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
# A thousand modules take 150 KB; more is no adapter, and no shard of a base.
_MOST_HEADER: Final = 32 << 20

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

    The library checks it first: header, offsets, and that nothing overlaps or is left over. What
    is named twice is refused: two readers may take either.
    """
    if not path.is_file():
        raise ValueError(f"{path} is no file")
    with path.open("rb") as file:
        length = int.from_bytes(file.read(8), "little")
        if length > _MOST_HEADER:
            raise ValueError(f"{path} is not a safetensors file (a header of {length} bytes)")
        raw = file.read(length)
    try:
        with safe_open(path, framework="numpy"):
            pass
    except SafetensorError as error:
        raise ValueError(f"{path} is not a safetensors file ({error})") from error
    try:
        entries: dict[str, Any] = json.loads(raw, object_pairs_hook=distinct)
        entries.pop("__metadata__", None)
        infos = {name: _info(entry, 8 + length) for name, entry in entries.items()}
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"{path} is not a safetensors file ({error})") from error
    return infos


def distinct(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """A JSON object's pairs as a dictionary; ValueError if a name stands there twice."""
    found = dict(pairs)
    if len(found) < len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise ValueError(f"{twice[:200]} stands there twice")
    return found


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


def copy_tensors(source: Path, target: Path, wanted: Mapping[str, TensorInfo]) -> None:
    """Write tensors of one file into another under new names, bit by bit, in the order given."""

    def content(info: TensorInfo) -> Callable[[], bytes]:
        return lambda: read_bytes(source, info)

    write_tensors(target, [(name, info, content(info)) for name, info in wanted.items()])


def read_bytes(path: Path, info: TensorInfo) -> bytes:
    """One tensor as it lies in the file."""
    with path.open("rb") as file:
        file.seek(info.start)
        return file.read(info.end - info.start)


def encoded(values: Floats, dtype: str) -> bytes:
    """Values as a file holds them, rounded to the nearest, ties to even, as torch does."""
    if dtype != "BF16":
        return values.astype(_READ_AS[dtype]).tobytes()
    bits = np.ascontiguousarray(values, np.float32).view(np.uint32)
    rounded = (bits + 0x7FFF + ((bits >> 16) & 1)) >> 16
    return rounded.astype("<u2").tobytes()


def write_tensors(
    target: Path, entries: Iterable[tuple[str, TensorInfo, Callable[[], bytes]]]
) -> None:
    """Write a file of tensors; their bytes are asked for one after the other."""
    listed = list(entries)
    header: dict[str, Any] = {"__metadata__": {"format": "pt"}}
    at = 0
    for name, info, _ in listed:
        end = at + info.end - info.start
        header[name] = {
            "dtype": info.dtype,
            "shape": list(info.shape),
            "data_offsets": [at, end],
        }
        at = end
    raw = json.dumps(header).encode()
    raw += b" " * (-len(raw) % 8)
    with target.open("wb") as file:
        file.write(len(raw).to_bytes(8, "little") + raw)
        for _, _, content in listed:
            file.write(content())
