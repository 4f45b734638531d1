"""A store to one tar, whole or not at all, while services and jobs go on with it."""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import io
import os
import sqlite3
import tarfile
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path, PurePosixPath
from typing import IO

from pydantic import ValidationError

from adapters.backup.contents import Contents, gathered, size
from adapters.backup.record import FIRST, FORMAT, INNER, Mark, Opening, Record
from adapters.manifest import MANIFEST_FILE, AdapterManifest, to_json
from adapters.versioning import stored_format
from indexer.errors import BadInput, StoreError
from indexer.settings import Paths, store_errors, sync_folder
from indexer.store.manifest import SnapshotManifest
from indexer.store.tombstones import Tombstones

Tell = Callable[[int], None]
_RESERVE = 64 * 1024 * 1024


def target_of(asked: Path, now: datetime) -> Path:
    """A file as it is named; in a folder one that is named by the time. BadInput if it is taken."""
    file = asked / f"dslm-{now:%Y%m%d-%H%M%S}.tar" if asked.is_dir() else asked
    if file.exists():
        raise BadInput(f"{file} is there already", "Name another file: nothing is overwritten")
    if not file.parent.is_dir():
        raise BadInput(f"The folder {file.parent} does not exist", "Create it, or choose another")
    return file


def back_up(paths: Paths, file: Path, tell: Tell) -> Record:
    """Write the archive. StoreError: no room, or the store cannot be read; then there is no file.

    `tell` is called with the bytes that were written since.
    """
    part = file.with_name(f".{file.name}.part")
    with store_errors(part), _sole(part) as out:
        try:
            with gathered(paths) as contents:
                _check_room(part, size(paths, contents))
                record = _Archive(paths, out, part, tell).write(contents)
            out.flush()
            os.fsync(out.fileno())
            os.link(part, file)  # never over what has appeared there meanwhile
        finally:
            part.unlink()
        sync_folder(file.parent)
    return record


@contextlib.contextmanager
def _sole(part: Path) -> Iterator[IO[bytes]]:
    """What a killed backup left is written over; one that is under way is left alone."""
    with open(os.open(part, os.O_RDWR | os.O_CREAT, 0o600), "r+b") as out:
        try:
            fcntl.flock(out, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            message = f"Another backup is writing {part}"
            raise StoreError(message, "Wait until it has ended") from error
        out.truncate(0)
        yield out


def _check_room(part: Path, wanted: int) -> None:
    state = os.statvfs(part.parent)
    free = state.f_bavail * state.f_frsize
    if wanted + _RESERVE > free:
        raise StoreError(
            f"The backup takes {wanted:,} bytes, and {part.parent} has {free:,} free",
            "Free some disk space, or write it to another disk",
        )


class _Archive:
    """One tar that is being written, and the marks of what is in it."""

    def __init__(self, paths: Paths, out: IO[bytes], part: Path, tell: Tell) -> None:
        self._root = paths.root
        self._out = out
        self._part = part
        self._tell = tell
        self._marks: dict[str, Mark] = {}

    def write(self, contents: Contents) -> Record:
        began = time.time_ns()
        with tarfile.open(fileobj=self._out, mode="w", format=tarfile.PAX_FORMAT) as tar:
            opening = Opening(format=FORMAT, store=stored_format(self._root))
            _put(tar, FIRST, to_json(opening))
            for name in contents.files:
                self._copy(tar, name)
            for name in contents.catalogs:
                self._copy_catalog(tar, name)
            for name in contents.tombstones:
                self._copy(tar, name)
            for name, content in contents.held.items():
                self._add(tar, name, io.BytesIO(content), len(content))
            record = Record(
                made=datetime.now(UTC),
                files=self._marks,
                dropped=tuple(self._deleted(contents, began)),
                damaged=tuple(self._damaged()),
            )
            _put(tar, *record.member())
        return record

    def _copy(self, tar: tarfile.TarFile, name: str) -> None:
        """As long as it was when it was opened: a line that is appended now is not half in it."""
        path = self._root / name
        try:
            file = path.open("rb")
        except FileNotFoundError:  # an upload or a job that was removed since
            return
        with file:
            self._add(tar, name, file, os.fstat(file.fileno()).st_size)

    def _copy_catalog(self, tar: tarfile.TarFile, name: str) -> None:
        """By SQLite's own backup: one consistent state, whatever a job is writing."""
        copy = self._part.with_suffix(".db")
        source = f"{(self._root / name).absolute().as_uri()}?mode=ro"
        try:
            with (
                store_errors(self._root / name),
                contextlib.closing(sqlite3.connect(source, uri=True, timeout=10)) as old,
                contextlib.closing(sqlite3.connect(copy)) as new,
            ):
                old.backup(new)
            with copy.open("rb") as file:
                self._add(tar, name, file, os.fstat(file.fileno()).st_size)
        finally:
            copy.unlink(missing_ok=True)

    def _add(self, tar: tarfile.TarFile, name: str, source: IO[bytes], length: int) -> None:
        info = tarfile.TarInfo(INNER + name)
        info.size, info.mode = length, 0o600
        hashed = Hashed(source, self._tell)
        try:
            tar.addfile(info, hashed)
        except OSError as error:
            if error.errno is not None:
                raise
            # what was to be copied is shorter than it was when it was opened
            message = f"{self._root / name} was cut while it was read"
            raise StoreError(message, "Back up again") from error
        self._marks[name] = Mark(sha256=hashed.digest.hexdigest(), bytes=length)

    def _deleted(self, contents: Contents, began: int) -> Iterator[str]:
        """Uploads that were deleted while this ran: what was deleted must not come back."""
        for name in contents.tombstones:
            home = str(PurePosixPath(name).parent)
            for path, note in Tombstones(self._root / name).entries().items():
                if note.at >= began and f"{home}/{path}" in self._marks:
                    yield f"{home}/{path}"

    def _damaged(self) -> Iterator[str]:
        """What the manifests that were copied say otherwise."""
        for name in self._marks:
            for file, sha256 in _stated(self._root / name, name):
                there = self._marks.get(file)
                if there is None or there.sha256 != sha256:
                    yield file


def _stated(path: Path, name: str) -> Iterator[tuple[str, str]]:
    """If this is the manifest of a snapshot or of an adapter: its files and their digests."""
    place = PurePosixPath(name)
    if place.name != MANIFEST_FILE:
        return
    try:
        if len(place.parts) == 5 and place.parts[2] == "snapshots":
            marks = SnapshotManifest.model_validate_json(path.read_bytes()).files
            yield from ((str(place.parent / file), one.sha256) for file, one in marks.items())
        elif len(place.parts) == 3 and place.parts[0] == "adapters":
            files = AdapterManifest.model_validate_json(path.read_bytes()).files
            yield from ((str(place.parent / file), sha256) for file, sha256 in files.items())
    except (OSError, ValidationError):
        yield name, ""


class Hashed:
    """A file that remembers the digest of what was read of it, and tells how much that was."""

    def __init__(self, file: IO[bytes], tell: Tell) -> None:
        self._file = file
        self._tell = tell
        self.digest = hashlib.sha256()

    def read(self, size: int = -1) -> bytes:
        piece = self._file.read(size)
        self.digest.update(piece)
        self._tell(len(piece))
        return piece


def _put(tar: tarfile.TarFile, name: str, content: bytes) -> None:
    info = tarfile.TarInfo(name)
    info.size, info.mode = len(content), 0o600
    tar.addfile(info, io.BytesIO(content))
