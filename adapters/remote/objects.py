"""An object store by its URL: bytes by name, whatever fsspec knows how to reach.

Knows names, bytes and digests, nothing of releases. An object is written whole or not at all: so do
S3 and its like; in a folder it is written beside and renamed.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final

from indexer.errors import BadInput, StoreError
from indexer.settings import store_errors

_PIECE: Final = 1 << 20
Tell = Callable[[int], None]


class Objects:
    """The objects below one URL. Blocking; nothing is cached."""

    def __init__(self, url: str) -> None:
        """BadInput for a URL that names no kind of store, or one whose library is missing."""
        self.url = url.rstrip("/")
        self._files, self._root = _open(self.url)
        self._is_folder = type(self._files).__name__ == "LocalFileSystem"

    def read(self, name: str) -> bytes | None:
        """None where there is no such object."""
        with self._errors(name):
            try:
                with self._files.open(self._path(name), "rb") as file:
                    return bytes(file.read())
            except FileNotFoundError:
                return None

    def write(self, name: str, content: bytes) -> None:
        with self._errors(name), self._writing(name) as path:
            self._files.pipe_file(path, content)

    def upload(self, file: Path, name: str, tell: Tell) -> None:
        with self._errors(name), self._writing(name) as path:
            with file.open("rb") as source, self._files.open(path, "wb") as out:
                while piece := source.read(_PIECE):
                    out.write(piece)
                    tell(len(piece))

    def download(self, name: str, target: Path, sha256: str, tell: Tell) -> None:
        """Durably. StoreError if it is not there, or has another digest; then there is no file."""
        digest = hashlib.sha256()
        part = target.with_name(f".{target.name}.part")
        with self._errors(name), self._files.open(self._path(name), "rb") as source:
            with store_errors(part), part.open("wb") as out:
                while piece := source.read(_PIECE):
                    digest.update(piece)
                    out.write(piece)
                    tell(len(piece))
                out.flush()
                os.fsync(out.fileno())
        if digest.hexdigest() != sha256:
            part.unlink()
            raise StoreError(
                f"{self.url}/{name} is not what was pushed",
                "Push it again with --again from the machine that made it",
            )
        part.rename(target)

    @contextlib.contextmanager
    def _writing(self, name: str) -> Iterator[str]:
        """Where to write; of a folder readers see no half of it."""
        path = self._path(name)
        if not self._is_folder:
            yield path
            return
        parent, _, last = path.rpartition("/")
        self._files.makedirs(parent, exist_ok=True)
        beside = f"{parent}/.{last}.{uuid.uuid4().hex}"
        try:
            yield beside
            os.replace(beside, path)
        finally:
            Path(beside).unlink(missing_ok=True)

    @contextlib.contextmanager
    def _errors(self, name: str) -> Iterator[None]:
        """What fsspec's stores raise when they cannot be reached is an OSError, or of their own."""
        try:
            yield
        except OSError as error:
            raise StoreError(
                f"Cannot use {self.url}/{name}: {error.strerror or error}",
                "Check the address, the network and the rights; nothing here has changed",
            ) from error

    def _path(self, name: str) -> str:
        return f"{self._root}/{name}" if self._root else name


def _open(url: str) -> tuple[Any, str]:
    """fsspec's file system and the path in it; for s3 without s3fs that of pyarrow."""
    import fsspec

    if "://" not in url:
        remedy = "Write s3://bucket/path, gs://..., file:///folder, or another that fsspec knows"
        raise BadInput(f"{url} is no address of an object store", remedy)
    scheme = url.partition("://")[0]
    try:
        files, root = fsspec.core.url_to_fs(url, use_listings_cache=False)
    except ImportError as error:
        if scheme == "s3" and (found := _arrow(url)):
            return found
        raise BadInput(
            f"For {scheme}:// a library is missing ({error})", "Install what it names"
        ) from error
    except ValueError as error:
        raise BadInput(f"{url} is no address of an object store: {error}") from error
    return files, str(root).rstrip("/")


def _arrow(url: str) -> tuple[Any, str] | None:
    """Its keys and address come from AWS's usual variables."""
    try:
        from fsspec.implementations.arrow import ArrowFSWrapper
        from pyarrow.fs import FileSystem
    except ImportError:
        return None
    files, root = FileSystem.from_uri(url)
    return ArrowFSWrapper(files), str(root).rstrip("/")
