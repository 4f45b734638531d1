"""Files of JSON lines that are only appended to; a killed writer leaves half a line at most."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from pydantic import ValidationError

from adapters.manifest import Schema
from indexer.settings import store_errors, sync_folder


def append_line(path: Path, line: bytes, *, mode: int = 0o644, durable: bool = True) -> None:
    """On a line of its own, even after half of one. One writer at a time: the caller's to see to.

    `mode` is that of a new file; `durable`: on the disk when this returns.
    """
    with store_errors(path):
        is_new = not path.exists()
        path.parent.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(path, os.O_RDWR | os.O_APPEND | os.O_CREAT, mode)
        with open(descriptor, "rb+") as file:
            file.write((b"" if _is_whole(file) else b"\n") + line.rstrip(b"\n") + b"\n")
            file.flush()
            if durable:
                os.fsync(file.fileno())
        if is_new and durable:
            sync_folder(path.parent)


def read_lines(path: Path, schema: type[Schema]) -> Iterator[Schema | None]:
    """Each line of the file in turn, None for what is none; nothing where there is no file."""
    with store_errors(path):
        if not path.exists():
            return
        with path.open("rb") as file:
            for line in file:
                if line.strip():
                    yield _parsed(line, schema)


def _parsed(line: bytes, schema: type[Schema]) -> Schema | None:
    try:
        return schema.model_validate_json(line)
    except ValidationError:
        return None


def _is_whole(file: BinaryIO) -> bool:
    """Does the file end with the end of a line?"""
    size = file.seek(0, os.SEEK_END)
    if size == 0:
        return True
    file.seek(size - 1)
    return file.read(1) == b"\n"
